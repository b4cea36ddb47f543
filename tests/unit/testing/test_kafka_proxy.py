"""Rules about requests, with a server that answers frames as a broker does: in order, by correlation id."""

import socket
import struct
from collections.abc import Iterator

import pytest

from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_rules import Api
from tests.unit.testing.servers import Broker, Server, serving
from tests.unit.testing.test_tcp_proxy import TIMEOUT_S, says_nothing


@pytest.fixture
def broker() -> Iterator[Server]:
    with serving(Broker) as server:
        yield server


@pytest.fixture
def proxy(broker: Server) -> Iterator[KafkaProxy]:
    with KafkaProxy(broker.at, seed=3) as proxy:
        yield proxy


class Client:
    """Sends frames and reads answers, both when the test says so."""

    def __init__(self, proxy: KafkaProxy, name: str = "client") -> None:
        self.socket = socket.create_connection((proxy.host, proxy.port), timeout=TIMEOUT_S)
        self._name, self._answers = name.encode(), self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self.socket.close()

    def frame(self, api: int, correlation: int, body: bytes = b"") -> bytes:
        return struct.pack(">hhih", api, 1, correlation, len(self._name)) + self._name + body

    def send(self, api: int, correlation: int, body: bytes = b"") -> bytes:
        """The frame that was sent, without its length."""
        frame = self.frame(api, correlation, body)
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        return frame

    def answer(self) -> int:
        """The correlation id of the next answer; -1 at the end of the stream."""
        self.socket.settimeout(TIMEOUT_S)
        prefix = self._answers.read(8)
        if not prefix:
            return -1
        size, correlation = struct.unpack(">ii", prefix)
        self._answers.read(size - 4)
        return int(correlation)

    def ask(self, api: int, correlation: int, body: bytes = b"") -> int:
        self.send(api, correlation, body)
        return self.answer()


def test_frames_of_all_sizes_pass(proxy: KafkaProxy, broker: Server) -> None:
    bodies = [b"", b"x", bytes(255), bytes(100_000), bytes(9_000_000)]
    with Client(proxy) as client:
        sent = [client.frame(Api.FETCH, i, body) for i, body in enumerate(bodies)]
        assert [client.ask(Api.FETCH, i, body) for i, body in enumerate(bodies)] == list(range(5))
    assert broker.asked == sent


def test_tokens_without_a_header_pass(proxy: KafkaProxy, broker: Server) -> None:
    with Client(proxy) as client:
        client.socket.sendall(struct.pack(">i", 9) + b"a tokenxy")
        assert client.answer() == int.from_bytes(b"kenx")
    assert broker.asked == [b"a tokenxy"]


def test_a_held_request_waits_and_with_it_what_is_behind(proxy: KafkaProxy, broker: Server) -> None:
    held = proxy.on(Api.END_TXN, "request", "hold")
    with Client(proxy) as client, Client(proxy) as other:
        for correlation, api in enumerate((Api.FETCH, Api.END_TXN, Api.FETCH)):
            client.send(api, correlation)
        held.wait()
        assert client.answer() == 0
        assert other.ask(Api.END_TXN, 0) == 0  # once only, and connections are alone
        assert len(broker.asked) == 2
        held.release()
        assert [client.answer(), client.answer()] == [1, 2]
    assert held.caught == 1


def test_a_held_request_arrives_though_its_client_left(proxy: KafkaProxy) -> None:
    held = proxy.on(Api.END_TXN, "request", "hold")
    answered = proxy.on(Api.END_TXN, "response", "pass")
    with Client(proxy) as client:
        client.send(Api.END_TXN, 1)
        held.wait()
    assert answered.caught == 0
    held.release()
    answered.wait()


def test_a_hold_ends_by_itself(proxy: KafkaProxy) -> None:
    held = proxy.on(Api.END_TXN, "response", "hold", for_ms=20)
    with Client(proxy) as client:
        assert client.ask(Api.END_TXN, 5) == 5
    assert held.caught == 1


def test_a_dropped_request_never_arrives_and_a_dropped_answer_was_done(proxy: KafkaProxy, broker: Server) -> None:
    with Client(proxy) as client:
        lost = proxy.on(Api.END_TXN, "request", "drop")
        client.send(Api.END_TXN, 1, bytes(200_000))
        lost.wait()
        assert says_nothing(client.socket)
        assert broker.asked == []
        unheard = proxy.on(Api.END_TXN, "response", "drop")
        sent = client.send(Api.END_TXN, 2, bytes(200_000))
        unheard.wait()
        assert says_nothing(client.socket)
        assert broker.asked == [sent]
        assert client.ask(Api.END_TXN, 3) == 3


@pytest.mark.parametrize(("at", "arrives"), [("request", 1), ("response", 2)])
def test_a_cut_comes_before_or_after_the_deed(proxy: KafkaProxy, broker: Server, at: str, arrives: int) -> None:
    proxy.on(Api.TXN_OFFSET_COMMIT, at, "cut")  # type: ignore[arg-type]
    with Client(proxy) as client:
        assert client.ask(Api.FETCH, 1) == 1
        client.send(Api.TXN_OFFSET_COMMIT, 2)
        with pytest.raises(ConnectionResetError):
            client.answer()
    assert len(broker.asked) == arrives
    with Client(proxy) as client:
        assert client.ask(Api.TXN_OFFSET_COMMIT, 1) == 1


def test_rules_can_be_for_one_client_skip_and_repeat(proxy: KafkaProxy) -> None:
    rule = proxy.on(Api.PRODUCE + 1, "request", "drop", client_id="a", skip=1, times=None)  # type: ignore[arg-type]
    with Client(proxy, "a") as a, Client(proxy, "b") as b:
        assert a.ask(Api.FETCH, 1) == 1
        for i in (2, 3):
            a.send(Api.FETCH, i)
        rule.wait(2)
        assert [b.ask(Api.FETCH, i) for i in range(3)] == [0, 1, 2]
        rule.release()
        assert a.ask(Api.FETCH, 4) == 4
    assert rule.caught == 2


def test_requests_without_an_answer_do_not_confuse(proxy: KafkaProxy) -> None:
    unheard = proxy.on(Api.END_TXN, "response", "drop")
    with Client(proxy) as client:
        for i in range(2_000):  # more than are remembered
            client.send(Api.PRODUCE, i)
        client.send(Api.END_TXN, 2_000)
        unheard.wait()
        assert client.ask(Api.FETCH, 2_001) == 2_001


def test_chance_is_drawn_from_the_seed(broker: Server) -> None:
    def fates(seed: int) -> list[bool]:
        with KafkaProxy(broker.at, seed=seed) as proxy, Client(proxy) as client:
            rule = proxy.on(Api.FETCH, "response", "pass", chance=0.5, times=None)
            counts = []
            for i in range(40):
                client.ask(Api.FETCH, i)
                counts.append(rule.caught)
            return [b > a for a, b in zip([0, *counts], counts, strict=False)]

    assert fates(1) == fates(1) != fates(2)
    assert {True, False} == set(fates(1))


def test_heal_lets_all_go(proxy: KafkaProxy) -> None:
    rules = [proxy.on(Api.END_TXN, "request", "hold", times=None), proxy.on(Api.FETCH, "response", "drop", times=None)]
    proxy.freeze("to_client")
    with Client(proxy) as client:
        client.send(Api.END_TXN, 1)
        rules[0].wait()
        proxy.heal()
        assert client.answer() == 1
        assert client.ask(Api.END_TXN, 2) == 2
        assert client.ask(Api.FETCH, 3) == 3


def test_waiting_for_what_does_not_come_says_for_what(proxy: KafkaProxy) -> None:
    with pytest.raises(TimeoutError, match="hold END_TXN request: 0 of 1 came"):
        proxy.on(Api.END_TXN, "request", "hold").wait(timeout_s=0)
