"""Resume tokens: only who has the key makes one, and only for what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.operators.signing import VARIABLE, Claim, claimed, sign, signing_key, verify
from streamflow.sdk.errors import UsageError

KEY = b"sixteen bytes, or more"
CLAIM = Claim("shop", "paid", "größe", "orders#1/0:7")


def test_a_token_says_what_it_is_for_and_holds_for_nothing_else() -> None:
    token = sign(CLAIM, KEY)
    assert claimed(token) == CLAIM
    assert verify(token, CLAIM, KEY)
    assert not verify(token, CLAIM, KEY + b"!")
    for other in (
        Claim("shop2", "paid", "größe", "orders#1/0:7"),
        Claim("shop", "paid2", "größe", "orders#1/0:7"),
        Claim("shop", "paid", "g", "orders#1/0:7"),
        Claim("shop", "paid", "größe", "orders#1/0:8"),
    ):
        assert not verify(token, other, KEY)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda b: b.hex() + "." + b.hex()))
def test_what_is_no_token_is_none(text: str) -> None:
    claimed(text)
    assert not verify(text, CLAIM, KEY)


@given(st.integers(0, 300), st.characters(codec="ascii"))
def test_a_changed_token_is_none(at: int, by: str) -> None:
    token = sign(CLAIM, KEY)
    at %= len(token)
    changed = token[:at] + by + token[at + 1 :]
    if verify(changed, CLAIM, KEY):
        assert changed == token or at == len(token) - 1  # some bits of the last character count for nothing


@pytest.mark.parametrize("key", ["", "short"])
def test_keys_that_are_none(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(UsageError, match=VARIABLE):
        signing_key()
