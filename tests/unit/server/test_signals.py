"""`POST /signals`: what is written, what is refused and how, and what a repeat is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamflow.server.access import Access
from streamflow.server.bodies import BODY_BYTES_MAX, DEPTH_MAX
from streamflow.server.repeats import Repeats
from tests.unit.server.serving import BEARER, WORKFLOW, Served, serving

JSON = {"Authorization": f"Bearer {BEARER}", "Content-Type": "application/json"}
FINE = {"key": "a", "payload": {"by": "ann"}}


def test_a_signal_is_written_before_it_is_answered(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        answer = await served.post("/signals/shop/approval", FINE)
        assert answer.status_code == 202
        facts = answer.json()
        at = (facts["topic"], facts["partition"], facts["offset"])
        assert at[0] == "shop.signals"
        assert at[2] == 0
        (found,) = await served.written()
        assert (found["name"], found["key"], found["node"], found["id"]) == ("approval", "a", None, None)
        assert orjson.loads(found["payload"]) == {"by": "ann"}
        more = await served.post("/signals/shop/approval", FINE)
        assert more.json()["offset"] == facts["offset"] + 1  # the same key, so the same partition
        by_node = await served.post("/signals/shop/checked", FINE)
        assert by_node.json()["node"] == "checked"

    serving(tmp_path, work)


def test_many_at_once_each_learn_their_own_place(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        bodies = [{"key": str(n), "payload": n} for n in range(60)]
        answers = await asyncio.gather(*(served.post("/signals/shop/approval", body) for body in bodies))
        places = {(a.json()["partition"], a.json()["offset"]) for a in answers}
        assert len(places) == 60
        for partition in range(4):
            mine = sorted(offset for p, offset in places if p == partition)
            assert mine == list(range(len(mine)))
        assert sorted(int(one["payload"]) for one in await served.written()) == list(range(60))

    serving(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "said"),
    [
        ("/signals/shop/approval", b"{}", {"Content-Type": "application/json"}, 401, "Bearer"),
        ("/signals/shop/approval", b"{}", {**JSON, "Authorization": "Bearer wrong"}, 401, "Bearer"),
        ("/signals/shop/approval", b"{}", {**JSON, "Authorization": f"Basic {BEARER}"}, 401, "Bearer"),
        ("/signals/shap/approval", b"{}", JSON, 404, "Did you mean 'shop'?"),
        ("/signals/shop/aproval", b"{}", JSON, 404, "Did you mean 'approval'?"),
        ("/signals/shop", b"{}", JSON, 404, "path"),
        ("/signals/shop/approval", b"{}", JSON, 400, "Give `key` or `execution`."),
        ("/signals/shop/approval", b'{"execution": "e"}', JSON, 400, "waits by key"),
        ("/signals/shop/approval", b'{"key": 3}', JSON, 400, "body.key"),
        ("/signals/shop/approval", b'{"key": ""}', JSON, 400, "body.key"),
        ("/signals/shop/approval", b'{"key": "a", "paylod": 1}', JSON, 400, "Did you mean 'payload'?"),
        ("/signals/shop/approval", b'{"key": "a", "node": "chcked"}', JSON, 404, "Did you mean 'checked'?"),
        ("/signals/shop/approval", b'["a"]', JSON, 400, "an array"),
        ("/signals/shop/approval", b"{", JSON, 400, "it is JSON"),
        ("/signals/shop/approval", b'{"key": "\\ud800"}', JSON, 400, "it is JSON"),
        ("/signals/shop/approval", b'{"key": "\xff"}', JSON, 400, "it is JSON"),
        ("/signals/shop/approval", b'{"key": "a", "payload": NaN}', JSON, 400, "it is JSON"),
        ("/signals/shop/approval", b"[" * 900 + b"]" * 900, JSON, 400, f"{DEPTH_MAX} deep"),
        ("/signals/shop/approval", b'{"key": "a"}', {**JSON, "Content-Type": "text/plain"}, 415, "text/plain"),
        ("/signals/shop/approval", b"x" * (BODY_BYTES_MAX + 1), JSON, 413, "262,144"),
        ("/signals/shop/approval", b'{"key": "a"}', {**JSON, "Idempotency-Key": "x" * 256}, 400, "256 characters"),
        ("/signals/shop/payment", b'{"execution": "e"}', JSON, 403, "signed signals only"),
    ],
)  # fmt: skip
def test_what_is_refused(
    path: str, content: bytes, headers: dict[str, str], status: int, said: str, tmp_path: Path
) -> None:
    async def work(served: Served) -> None:
        answer = await served.client.post(path, content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["status"] == status
        assert said in answer.text
        assert {"title", "detail", "place", "rule"} <= set(told)
        assert await served.written() == []

    serving(tmp_path, work)


def test_a_body_without_length_is_bounded_too(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        taken = 0

        async def pieces() -> Any:
            nonlocal taken
            for _ in range(1_000):
                taken += 1
                yield b" " * 65_536

        answer = await served.client.post("/signals/shop/approval", content=pieces(), headers=JSON)
        assert answer.status_code == 413

    serving(tmp_path, work)


def test_without_a_token_nobody_sends_unless_it_is_insecure(tmp_path: Path) -> None:
    async def refused(served: Served) -> None:
        assert (await served.client.post("/signals/shop/approval", json=FINE)).status_code == 403

    async def taken(served: Served) -> None:
        assert (await served.client.post("/signals/shop/approval", json=FINE)).status_code == 202

    serving(tmp_path, refused, access=Access())
    serving(tmp_path, taken, access=Access(insecure=True))


def test_requests_of_one_idempotency_key_are_one_signal(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        answers = await asyncio.gather(
            *(served.post("/signals/shop/approval", FINE, Idempotency_Key="one") for _ in range(8))
        )
        facts = [answer.json() for answer in answers]
        assert sorted(f.pop("repeated") for f in facts) == [False] + [True] * 7
        assert all(f == facts[0] for f in facts)
        (found,) = await served.written()
        assert found["id"] == "one"
        other = await served.post("/signals/shop/approval", {"key": "b"}, Idempotency_Key='"one"')
        assert other.status_code == 422
        assert "stands for one request" in other.text

    serving(tmp_path, work)


def test_a_log_that_is_away_is_503_and_the_key_can_be_used_again(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        served.log.away = True
        answer = await served.post("/signals/shop/approval", FINE, Idempotency_Key="k")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["code"] == "SF509" or answer.json()["code"].startswith("SF5")
        assert (await served.client.get("/health/ready")).status_code == 503
        assert (await served.client.get("/health/live")).status_code == 200
        served.log.away = False
        again = await served.post("/signals/shop/approval", FINE, Idempotency_Key="k")
        assert again.status_code == 202
        assert len(await served.written()) == 1

    serving(tmp_path, work)


def test_a_workflow_whose_topic_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async def work(served: Served) -> None:
        served.log.hangs = {"shop.signals": asyncio.Event()}
        hung = asyncio.create_task(served.post("/signals/shop/approval", FINE))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            assert (await served.post("/signals/other/approval", FINE)).status_code == 202
        assert not hung.done()
        served.log.hangs["shop.signals"].set()
        assert (await hung).status_code == 202

    other = WORKFLOW.replace("workflow: shop", "workflow: other")
    serving(tmp_path, work, workflows=(WORKFLOW, other))


def test_answers_that_are_remembered_are_bounded() -> None:
    async def work() -> None:
        repeats = Repeats(answers_max=3)

        async def make() -> dict[str, Any]:
            return {}

        for n in range(10):
            await repeats.once((str(n),), b"", make)
        assert (await repeats.once(("9",), b"", make))[1]
        assert not (await repeats.once(("0",), b"", make))[1]

    asyncio.run(work())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=400),
    st.fixed_dictionaries({}, optional={"key": VALUES, "execution": VALUES, "payload": VALUES, "node": VALUES}).map(
        lambda value: __import__("json").dumps(value).encode()
    ),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(BODIES, max_size=12),
    types=st.sampled_from(["application/json", "text/json", "application/json; q=1"]),
)
def test_any_body_is_taken_or_refused_and_what_is_taken_is_there(
    bodies: list[bytes], types: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def work(served: Served) -> None:
        taken = 0
        for body in bodies:
            headers = {**JSON, "Content-Type": types}
            answer: httpx.Response = await served.client.post("/signals/shop/look", content=body, headers=headers)
            assert answer.status_code in (202, 400, 404, 415), answer.text
            taken += answer.status_code == 202
            if answer.status_code == 202:
                sent = orjson.loads(body)
                assert answer.json()["execution"] == sent.get("execution")
        found = await served.written()
        assert len(found) == taken
        for one in found:
            if one["payload"] is not None:
                orjson.loads(one["payload"])

    serving(tmp_path_factory.mktemp("fuzz"), work)
