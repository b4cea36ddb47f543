"""Where a server listens, and with which token."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.sdk.errors import UsageError
from streamflow.server.access import VARIABLE, is_loopback, make_access

GOOD = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_on_this_machine_nothing_is_asked_for(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert is_loopback(host)
    assert make_access(host, token_file=None, tls=False, insecure=False).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", "localhost.example.org", ""])
@pytest.mark.parametrize(("token", "tls"), [("", False), (GOOD, False), ("", True)])
def test_outside_of_it_a_token_and_tls_are(host: str, token: str, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(UsageError, match="is missing"):
        make_access(host, token_file=None, tls=tls, insecure=False)
    assert make_access(host, token_file=None, tls=tls, insecure=True).token == (token or None)
    monkeypatch.setenv(VARIABLE, GOOD)
    assert make_access(host, token_file=None, tls=True, insecure=False).token == GOOD


@pytest.mark.parametrize("text", ["short", "x" * 5_000, "with a space in it, and long", "ä" * 20])
def test_tokens_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text + "\n")
    with pytest.raises(UsageError, match="the token of"):
        make_access("127.0.0.1", token_file=tmp_path / "token", tls=False, insecure=False)


def test_a_token_in_a_file_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "of the environment")
    (tmp_path / "token").write_text(GOOD + "\n")
    access = make_access("127.0.0.1", token_file=tmp_path / "token", tls=False, insecure=False)
    assert access.token == GOOD
    assert GOOD not in repr(access)
    with pytest.raises(UsageError, match="cannot be read"):
        make_access("127.0.0.1", token_file=tmp_path / "none", tls=False, insecure=False)
