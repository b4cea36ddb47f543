"""`/resume/{token}`: only POST resumes, and only with a token that was signed here."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from tests.unit.server.serving import Served, serving, token

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}


def test_a_page_ends_nothing_and_its_button_does(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        path = f"/resume/{token()}"
        for _ in range(2):
            page = await served.client.get(path, params={"payload": '{"ok": "<b>"}'})
            assert page.status_code == 200
            assert '<form method="post">' in page.text
            assert "&lt;b&gt;" in page.text
            assert "<b>payment</b>" in page.text
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["referrer-policy"] == "no-referrer"
        head = await served.client.request("HEAD", path)
        assert head.status_code in (200, 405)
        assert await served.written() == []
        thanks = await served.client.post(path, data={"payload": '{"ok": "<b>"}'}, headers=FORM)
        assert "Your answer was taken in." in thanks.text
        (found,) = await served.written()
        assert (found["name"], found["node"], found["execution"]) == ("payment", "paid", "e1")
        assert found["payload"] == '{"ok": "<b>"}'
        assert found["token"] == token()

    serving(tmp_path, work)


def test_a_link_counts_once_unless_it_is_told_apart_by_keys(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        path = f"/resume/{token()}"
        first = await served.client.post(path)
        again = await served.client.post(path)
        assert (first.status_code, first.json()["repeated"]) == (202, False)
        assert (again.status_code, again.json()["repeated"]) == (202, True)
        assert again.json()["offset"] == first.json()["offset"]
        other = await served.client.post(path, json=[1, 2.5], headers={"Idempotency-Key": "second"})
        assert other.json()["repeated"] is False
        assert [one["payload"] for one in await served.written()] == [None, "[1,2.5]"]

    serving(tmp_path, work)


def test_each_link_has_keys_of_its_own(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        one, other, same = token(), token(execution="e2"), respelled(token())
        for path in (one, other, same):
            answer = await served.client.post(f"/resume/{path}", headers={"Idempotency-Key": "k"})
            assert (answer.status_code, answer.json()["repeated"]) == (202, path == same)
        assert (await served.client.post(f"/resume/{one}")).json()["repeated"] is False
        assert (await served.client.post(f"/resume/{same}")).json()["repeated"] is True
        mine = await served.post("/signals/shop/approval", {"key": "e1"}, Idempotency_Key="k")
        assert (mine.status_code, mine.json()["repeated"]) == (202, False)
        ids = [one["id"] for one in await served.written()]
        assert len(set(ids)) == len(ids) == 4
        assert sum(id.startswith("resume.") and id.endswith(".k") for id in ids) == 2

    serving(tmp_path, work)


def respelled(text: str) -> str:
    """The same token with another last character, whose lowest bits say nothing."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


@pytest.mark.parametrize(
    ("sent", "kind", "payload"),
    [
        ("", None, '{"ok": true}'),
        ("", "application/json", '{"ok": true}'),
        ("", "application/x-www-form-urlencoded", '{"ok": true}'),
        ("payload=%7B%22ok%22%3Atrue%7D", "application/x-www-form-urlencoded", '{"ok":true}'),
        ('{"ok":  true}', "application/json", '{"ok":  true}'),
        ('{"ok": 1}', "application/json", None),
        ("null", "application/json", None),
        ("payload=2", "application/x-www-form-urlencoded", None),
    ],
)
def test_what_a_link_brings_along_is_not_lost(sent: str, kind: str | None, payload: str | None, tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        answer = await served.client.post(
            f"/resume/{token()}", params={"payload": '{"ok": true}'}, content=sent,
            headers={} if kind is None else {"Content-Type": kind},
        )  # fmt: skip
        assert answer.status_code == (400 if payload is None else 202), answer.text
        assert [one["payload"] for one in await served.written()] == ([] if payload is None else [payload])

    serving(tmp_path, work)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_wrong_tokens_are_all_refused_alike(method: str, tmp_path: Path) -> None:
    good = token()
    wrong = [
        "nonsense", "a.b", good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), good.replace(".", ""),
        token(key=b"another key, long enough"), token(node="nowhere"), token(workflow="other"), "x" * 9_000, "é.ü",
    ]  # fmt: skip

    async def work(served: Served) -> None:
        said = set()
        for one in wrong:
            answer = await served.client.request(method, f"/resume/{one}")
            assert answer.status_code == 403, (one, answer.text)
            said.add(answer.text)
        assert len(said) == 1
        assert await served.written() == []

    serving(tmp_path, work)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "nonsense", 403), ("POST", "nonsense", 403), ("GET", "a/b", 404), ("PUT", "nonsense", 405)],
)
def test_problems_of_a_link_are_as_secret_as_its_page(method: str, path: str, status: int, tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        for accept, kind in (("text/html,*/*", "text/html"), ("*/*", "application/problem+json")):
            answer = await served.client.request(method, f"/resume/{path}", headers={"Accept": accept})
            assert answer.status_code == status
            assert answer.headers["content-type"].startswith(kind)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["content-security-policy"]

    serving(tmp_path, work)


def test_what_a_problem_shows_is_text(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        answer = await served.client.get(f"/resume/{token()}", params={"<script>": "1"}, headers=FORM)
        assert answer.status_code == 400
        assert "&lt;script&gt;" in answer.text
        assert "<script>" not in answer.text
        served.log.away = True
        answer = await served.client.post(f"/resume/{token()}", headers={"Accept": "text/html"})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "<h1>Not available</h1>" in answer.text

    serving(tmp_path, work)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"a": 1}', "text/plain", 415),
        (b'{"a": 1}', None, 415),
        (b"approved=true", "application/x-www-form-urlencoded", 400),
        (b"payload=yes", "application/x-www-form-urlencoded", 400),
        (b"payload=" + b"1" * 3_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"payload=1" for _ in range(20)), "application/x-www-form-urlencoded", 400),
        (b" " * 300_000, "application/json", 413),
    ],
)
def test_bodies_that_are_refused(content: bytes, kind: str | None, status: int, tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        headers = {} if kind is None else {"Content-Type": kind}
        answer = await served.client.post(f"/resume/{token()}", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert await served.written() == []

    serving(tmp_path, work)
