"""Resume tokens: who holds one may end the wait of one execution at one node.

A token is what it is for, as JSON, and a HMAC-SHA256 of that, both in base64url. The key comes from the environment
(STREAMFLOW_SIGNING_KEY), so that it is in no workflow, plan or item.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import Final

import orjson

from streamflow.sdk.errors import UsageError

VARIABLE: Final = "STREAMFLOW_SIGNING_KEY"
KEY_BYTES_MIN: Final = 16
TOKEN_CHARS_MAX: Final = 8_192


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token is for: items of an execution that wait under a key at a node of a workflow."""

    workflow: str
    node: str
    key: str
    execution: str

    def encode(self) -> bytes:
        return orjson.dumps([self.workflow, self.node, self.key, self.execution])


def signing_key() -> bytes:
    """The key of this process. Raises UsageError where there is none, or one too short to be a secret."""
    key = os.environ.get(VARIABLE, "").encode()
    if len(key) < KEY_BYTES_MIN:
        found = "is not set" if not key else f"has {len(key)} bytes"
        raise UsageError(
            f"resume tokens are signed with {VARIABLE}, which {found}; at least {KEY_BYTES_MIN} bytes are needed.",
            mend="Set it to the same random text for all workers and for whoever makes tokens.",
        )
    return key


def sign(claim: Claim, key: bytes) -> str:
    """The token of a claim."""
    body = claim.encode()
    return f"{_text(body)}.{_text(hmac.digest(key, body, hashlib.sha256))}"


def claimed(token: str) -> Claim | None:
    """What a token says it is for, whoever made it; None for text that is no token."""
    body = _parts(token)[0]
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, list) or len(fields) != 4 or not all(isinstance(f, str) for f in fields):
        return None
    return Claim(*fields)


def verify(token: str, claim: Claim, key: bytes) -> bool:
    """Whether a token was signed with the key, and for this. Takes as long whichever byte is wrong."""
    body, mac = _parts(token)
    right = hmac.compare_digest(hmac.digest(key, body, hashlib.sha256), mac)
    return right and claimed(token) == claim


def _parts(token: str) -> tuple[bytes, bytes]:
    """Body and signature; empty where the text is no token."""
    if len(token) > TOKEN_CHARS_MAX or token.count(".") != 1 or not token.isascii():
        return b"", b""
    body, _, mac = token.partition(".")
    try:
        return _bytes(body), _bytes(mac)
    except (binascii.Error, ValueError):
        return b"", b""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
