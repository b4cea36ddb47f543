"""Who may send what is not signed, and where a server may listen."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import Request

from streamflow.sdk.errors import UsageError
from streamflow.server.problems import Problem

VARIABLE: Final = "STREAMFLOW_SERVE_TOKEN"
TOKEN_CHARS_MIN, TOKEN_CHARS_MAX = 16, 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`token`: what requests have to bear; None: none is set. `insecure`: then anybody may send."""

    token: str | None = field(default=None, repr=False)
    insecure: bool = False

    def check(self, request: Request) -> None:
        """Raises Problem 401, or 403 where nobody may."""
        if self.token is None:
            if self.insecure:
                return
            raise Problem(
                403,
                "server",
                "signals that are not signed need a bearer token, and this server has none.",
                mend=f"Start it with {VARIABLE}, or send to /resume/TOKEN.",
            )
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _same(given.strip(), self.token):
            raise Problem(
                401,
                "header Authorization",
                "it is `Bearer` and the token of this server.",
                mend=f"Ask who runs it for what {VARIABLE} is there.",
                headers={"WWW-Authenticate": "Bearer"},
            )


def make_access(host: str, *, token_file: Path | None, tls: bool, insecure: bool) -> Access:
    """Access by the environment or a file. Raises UsageError for a token that is none, and for a server that others
    could reach without token and TLS.
    """
    token = os.environ.get(VARIABLE) or None
    where = VARIABLE
    if token_file is not None:
        where = str(token_file)
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the token in {where!r} cannot be read: {error}.") from None
    if token is not None and not (
        TOKEN_CHARS_MIN <= len(token) <= TOKEN_CHARS_MAX
        and token.isascii()
        and token.isprintable()
        and " " not in token
    ):
        raise UsageError(
            f"the token of {where} has {len(token)} characters or odd ones; it is {TOKEN_CHARS_MIN} to "
            f"{TOKEN_CHARS_MAX:,} of ASCII without spaces.",
            mend="`openssl rand -hex 32` makes one.",
        )
    if not is_loopback(host) and not insecure and (token is None or not tls):
        missing = " and ".join(
            name
            for name, there in ((f"a token ({VARIABLE})", token), ("TLS (--tls-cert, --tls-key)", tls))
            if not there
        )
        raise UsageError(
            f"--host {host!r} is reached from outside, and {missing} is missing.",
            mend="Give both; or --insecure, where something before this server does that.",
        )
    return Access(token=token, insecure=insecure)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _same(one: str, other: str) -> bool:
    """Takes as long whatever differs, lengths too."""
    mine, theirs = (hashlib.sha256(text.encode()).digest() for text in (one, other))
    return hmac.compare_digest(mine, theirs)
