"""RegistryOptions: who we are to a schema registry server, from code or the environment (STREAMFLOW_REGISTRY_*)."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, Self

import httpx
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamflow.codecs.registry_api import RegistryUnavailable
from streamflow.sdk.errors import UsageError
from streamflow.sdk.tls import client_context

PORT_MAX: Final = 65_535
_PORTS: Final = {"http": 80, "https": 443}


class RegistryOptions(BaseSettings):
    """Everything about the connection that is not the address. Secrets show in no repr and no error.

    `url` is the registry that username, password, token and client certificate are meant for: a workflow may name any
    registry, and no other is told them. `retries_max`: how often a request is sent again when the registry is away or
    ill; the pause before each is twice the one before, from 100 ms on. `timeout_ms` bounds connecting and each wait
    for more of an answer.
    """

    model_config = SettingsConfigDict(
        env_prefix="STREAMFLOW_REGISTRY_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_key_password: SecretStr = SecretStr("")
    timeout_ms: int = Field(default=10_000, ge=1)
    retries_max: int = Field(default=4, ge=0, le=20)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        if self.token.get_secret_value() and self.username:
            raise ValueError("token and username exclude each other")
        if (self.username or self.token.get_secret_value() or self.ssl_certfile) and not self.url:
            raise ValueError("username, token and ssl_certfile need url: the registry that they are meant for")
        return self

    def for_url(self, url: httpx.URL) -> Self:
        """The options for a registry at `url`: without what is meant for another."""
        if not self.url or _origin(parsed_url(self.url)) == _origin(url):
            return self
        nobody = {"url": "", "username": "", "password": SecretStr(""), "token": SecretStr("")}
        return self.model_copy(update={**nobody, "ssl_certfile": None, "ssl_keyfile": None})

    def ssl_context(self) -> ssl.SSLContext:
        """What a TLS connection is verified with. Raises UsageError where a file does not fit."""
        return client_context(
            "the schema registry",
            cafile=self.ssl_cafile,
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            key_password=self.ssl_key_password.get_secret_value(),
        )

    @classmethod
    def make(cls, **given: Any) -> Self:
        """Options from the environment and `given`, which wins. Raises UsageError, which quotes no value."""
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"schema registry option {name or 'values'}: {first['msg']}.",
                mend=f"Options are STREAMFLOW_REGISTRY_* variables: {', '.join(cls.model_fields)}.",
            ) from None


def parsed_url(text: str) -> httpx.URL:
    """The address of a registry. Raises RegistryUnavailable, which does not quote it: there may be a password in it."""
    mend = "Give http://HOST:PORT or https://…, user and password as STREAMFLOW_REGISTRY_USERNAME and _PASSWORD."
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise RegistryUnavailable("the address of the schema registry is no URL.", mend=mend) from error
    if url.scheme not in _PORTS or not url.host or (url.port or 1) > PORT_MAX or url.query or url.fragment:
        raise RegistryUnavailable("the address of the schema registry is not http://HOST or https://HOST.", mend=mend)
    if url.userinfo:
        raise RegistryUnavailable("a password stands in the address of the schema registry, which is shown.", mend=mend)
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or _PORTS[url.scheme]
