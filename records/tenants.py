"""Tenants and their API keys. Of a key only the sha256 of its secret is kept.

Keys look like `ck-<8 hex>-<43 url-safe characters>`: the public id finds the row, the secret (32 random
bytes) is compared in constant time. A fast hash is right for a secret of full entropy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time

from sqlalchemy.orm import Session

from records.models import Key, Tenant

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_KEY = re.compile(r"ck-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")


def create(session: Session, name: str) -> str:
    """Make a tenant (or find it) and return a new key; the key is shown this once and never again.

    Raises ValueError for a name that cannot stand in a model name.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"Tenant name {name!r}: use 1 to 40 of a-z, 0-9 and '-', with a letter or digit at both ends."
        )
    now = int(time.time())
    if session.get(Tenant, name) is None:
        session.add(Tenant(name=name, created_at=now))
        session.flush()
    public, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    session.add(Key(id=public, tenant=name, secret_sha256=_hash(secret), created_at=now, revoked_at=None))
    return f"ck-{public}-{secret}"


def authenticate(session: Session, presented: str) -> str | None:
    """The tenant that a presented key belongs to, or None (unknown, malformed or revoked)."""
    match = _KEY.fullmatch(presented)
    row = session.get(Key, match.group(1)) if match else None
    # Compare even when there is no row: the time must not tell whether the public id exists.
    expected = row.secret_sha256 if row else "0" * 64
    same = hmac.compare_digest(_hash(match.group(2) if match else ""), expected)
    return row.tenant if row and same and row.revoked_at is None else None


def key_id(presented: str) -> str | None:
    """The public id in a key, for the audit; says nothing of whether the key is good."""
    match = _KEY.fullmatch(presented)
    return match.group(1) if match else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
