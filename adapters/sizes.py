"""Bytes for people."""

from __future__ import annotations


def shown(count: int) -> str:
    """`6.9 MB`, `1.2 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
