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
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from records import audit
from records.audit import By
from records.models import Key, Tenant

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_KEY = re.compile(r"ck-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")
_PREFIX = re.compile(r"(?:ck-)?([0-9a-f]{8})(?:-[A-Za-z0-9_-]*)?")


class NotFound(ValueError):
    """There is no such tenant, or no such key; the text says what to do."""


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
    return _new_key(session, name, now)


def add_key(session: Session, tenant: str, by: By) -> str:
    """Another key for a tenant that is there; shown this once. Raises NotFound."""
    check_exists(session, tenant)
    key = _new_key(session, tenant, int(time.time()))
    audit.note(session, by, tenant, "create key", f"key:{key_id(key)}", before=None, after={"revoked": False})
    return key


def keys_of(session: Session, tenant: str) -> Sequence[Key]:
    """A tenant's keys, the oldest first, with those that are revoked. Raises NotFound."""
    check_exists(session, tenant)
    asked = select(Key).where(Key.tenant == tenant).order_by(Key.created_at, Key.id)
    return session.scalars(asked).all()


def revoke(session: Session, prefix: str, by: By) -> Key:
    """The key is good no more: one change, one audit row; twice is once. Raises NotFound.

    `prefix` is what `prefix()` gives, with or without `ck-`; a whole key will do, its secret is not read.
    """
    match = _PREFIX.fullmatch(prefix)
    row = session.get(Key, match.group(1)) if match else None
    if row is None:
        raise NotFound(
            "There is no such key. Give `ck-` and 8 digits, as `chorus tenants keys list TENANT` shows them."
        )
    if row.revoked_at is None:
        row.revoked_at = int(time.time())
        change = {"before": {"revoked": False}, "after": {"revoked": True}}
        audit.note(session, by, row.tenant, "revoke key", f"key:{row.id}", **change)
    return row


def prefix(row: Key) -> str:
    """What people call a key by: its public part."""
    return f"ck-{row.id}"


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


def _new_key(session: Session, tenant: str, now: int) -> str:
    public, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    session.add(Key(id=public, tenant=tenant, secret_sha256=_hash(secret), created_at=now, revoked_at=None))
    return f"ck-{public}-{secret}"


def check_exists(session: Session, name: str) -> None:
    if session.get(Tenant, name) is None:
        raise NotFound(f"There is no tenant {name!r}; `chorus tenants create NAME` makes one.")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
