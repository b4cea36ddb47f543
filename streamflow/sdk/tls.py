"""TLS contexts of clients, from files that a user names."""

from __future__ import annotations

import ssl
from pathlib import Path

from streamflow.sdk.errors import UsageError


def client_context(
    to: str, *, cafile: Path | None, certfile: Path | None, keyfile: Path | None, key_password: str
) -> ssl.SSLContext:
    """What a TLS connection `to` somebody is verified with; all files are PEM.

    `cafile`: who is trusted, instead of the system's authorities. `certfile`, `keyfile`: who we are.
    Raises UsageError where a file does not fit.
    """
    try:
        context = ssl.create_default_context(cafile=cafile)
        if certfile:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certfile, keyfile, password=lambda: key_password)
    except (OSError, ssl.SSLError) as error:
        files = [str(f) for f in (cafile, certfile, keyfile) if f]
        raise UsageError(
            f"TLS to {to}: {', '.join(files)}: {error}.",
            mend="Give PEM files that can be read, and the password of the key.",
        ) from error
    return context
