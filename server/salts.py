"""A secret salt per tenant for the engine's prefix cache, so that timing tells nothing of others' prompts.

The secret is of this process: the cache that it guards lives no longer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets


class Salts:
    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, tenant: str) -> str:
        """43 url-safe characters. Made anew each time: 2 us, and nothing to grow with the tenants."""
        digest = hmac.digest(self._secret, tenant.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
