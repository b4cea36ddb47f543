"""Sends messages by Apprise. Addresses hold secrets: they come from outside, and are shown nowhere."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamflow.sdk.errors import UsageError

EXTRA: Final = "streamflow[notify]"
FAILED: Final = "notification_failed"
TITLE_CHARS_MAX: Final = 500
BODY_CHARS_MAX: Final = 30_000
SERVICES_MAX: Final = 50


def installed() -> bool:
    return importlib.util.find_spec("apprise") is not None


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    body: str


class Services:
    """Services that every message goes to. `by`: names of environment variables and files, for errors.

    Raises UsageError where an address is none.
    """

    def __init__(self, urls: Sequence[str], by: str) -> None:
        if not installed():
            raise UsageError("notifications need the package apprise.", mend=f"Install {EXTRA}.")
        import apprise

        # Its own lines show addresses, with what is secret in them.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        if not urls:
            raise UsageError(f"{by} names no service to notify.", mend="Put Apprise URLs there, one a line.")
        if len(urls) > SERVICES_MAX:
            raise UsageError(f"{by} names {len(urls)} services; {SERVICES_MAX} are the most.")
        self._services: list[Any] = []
        for number, url in enumerate(urls, 1):
            service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
            if service is None:
                raise UsageError(
                    f"{by}: address {number} of {len(urls)} is none that Apprise knows (it is not shown).",
                    mend="See https://appriseit.com/services/ for how the addresses of services are written.",
                )
            self._services.append(service)

    def send(self, messages: Sequence[Message]) -> list[str]:
        """Send each message to each service, in order: "" or what went wrong, a message. Returns when all answered."""
        return [self._send(message) for message in messages]

    def _send(self, message: Message) -> str:
        failed = []
        for number, service in enumerate(self._services, 1):
            try:
                sent = service.notify(body=message.body or " ", title=message.title)
            except Exception as error:  # a service of a third party: becomes the item's error, never with its text
                sent, why = False, f" ({type(error).__name__})"
            else:
                why = ""
            if not sent:
                failed.append(f"{service.service_name or 'service'}, address {number}{why}")
        if not failed:
            return ""
        return f"{len(failed)} of {len(self._services)} services did not take it: {'; '.join(failed)}."


def read_urls(variables: Sequence[str], file: Path | None) -> Services:
    """The services whose addresses stand in environment variables (several apart by white space) or in a file, one a
    line; lines that begin with # are left out. Raises UsageError.
    """
    urls: list[str] = []
    for name in variables:
        value = os.environ.get(name, "")
        if not value.strip():
            raise UsageError(f"the environment variable {name} is not set.", mend="It holds Apprise URLs.")
        urls += value.split()
    by = ", ".join(variables)
    if file is not None:
        by = f"{by}, {file.name}" if by else file.name
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}.", mend="It holds Apprise URLs, one a line.") from None
        urls += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return Services(urls, by)
