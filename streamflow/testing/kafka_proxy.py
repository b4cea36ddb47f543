"""A proxy that knows Kafka's requests: hold back, lose or cut just those that a test is about, or their answers.

    with KafkaProxy() as proxy:
        server = KafkaServer(folder, listeners=[Listener(name="PROXIED", advertised_port=proxy.port)])
        server.start()
        proxy.forward_to(server.host, server.port_of("PROXIED"))
        held = proxy.on(Api.END_TXN, "request", "hold")     # the client's commit hangs
        …                                                   # and is given up
        held.release()                                      # and arrives after all
        proxy.on(Api.END_TXN, "response", "drop")           # done, but its client never hears of it
        proxy.on(Api.TXN_OFFSET_COMMIT, "response", "cut")  # done, then the connection breaks

Held frames block what is behind them in their direction of their connection, as on a network. A client that goes away
does not take back what it sent: a held request arrives all the same. Works on plain and SASL listeners; inside TLS
nothing can be told apart, and rules must not be used.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import AsyncGenerator

from streamflow.testing.kafka_rules import Api, At, Do, Request, Rule
from streamflow.testing.tcp_link import Source
from streamflow.testing.tcp_proxy import Conversation, TcpProxy

UNANSWERED_MAX = 1_000  # requests per connection that wait for an answer; some never get one, the oldest are forgotten
CLIENT_ID_BYTES_MAX = 256
_HEADER = struct.Struct(">hhih")  # api key, api version, correlation id, length of the client id (-1: none)


class KafkaProxy(TcpProxy):
    """A TcpProxy with rules about requests. The first rule that takes a frame is applied; without one it passes."""

    def __init__(self, target: tuple[str, int] | None = None, *, host: str = "127.0.0.1", seed: int = 0) -> None:
        super().__init__(target, host=host, seed=seed)
        self._rules: tuple[Rule, ...] = ()

    def on(
        self,
        api: Api,
        at: At,
        do: Do,
        *,
        for_ms: float | None = None,
        times: int | None = 1,
        skip: int = 0,
        chance: float = 1.0,
        client_id: str | None = None,
    ) -> Rule:
        """From now on, do something to requests of `api`, or to their answers.

        do: "hold" for `for_ms`, or until released when that is None; "drop", so that the frame never arrives; "cut"
        the connection in its place; "pass", which only counts. times: how often, None for ever. skip: how many pass
        first. chance: of each frame, drawn from the proxy's seed. client_id: of this client alone.
        """
        rule = Rule(api, at, do, for_ms=for_ms, times=times, skip=skip, chance=chance, client_id=client_id)
        self._rules = (*self._rules, rule)
        return rule

    def heal(self) -> None:
        """No fault is left, no rule either: what was held arrives."""
        rules, self._rules = self._rules, ()
        for rule in rules:
            rule.release()
        super().heal()

    def rule_for(self, request: Request, at: At) -> Rule | None:
        """The rule to apply to a frame. For the proxy, on its loop."""
        return next((rule for rule in self._rules if rule.takes(request, at, self._random)), None)

    def _conversation(self) -> Conversation:
        return _KafkaConversation(self)


class _KafkaConversation(Conversation):
    """Frames of one connection. Only their headers are kept: the rest passes as it comes, whatever its size."""

    def __init__(self, proxy: KafkaProxy) -> None:
        self._proxy = proxy
        self._unanswered: deque[Request] = deque(maxlen=UNANSWERED_MAX)

    async def to_server(self, source: Source) -> AsyncGenerator[bytes]:
        while prefix := await source.exactly(4):
            left = int.from_bytes(prefix, signed=True)
            head = await source.exactly(min(left, _HEADER.size + CLIENT_ID_BYTES_MAX))
            left -= len(head)
            request = _parsed(head)
            passes = await self._passes(request, "request")
            if passes:
                if request is not None:
                    self._unanswered.append(request)
                yield prefix + head
            while left > 0 and (piece := await source.some(left)):
                left -= len(piece)
                if passes:
                    yield piece

    async def to_client(self, source: Source) -> AsyncGenerator[bytes]:
        while prefix := await source.exactly(4):
            left = int.from_bytes(prefix, signed=True)
            head = await source.exactly(min(left, 4))
            left -= len(head)
            passes = await self._passes(self._answered(int.from_bytes(head, signed=True)), "response")
            if passes:
                yield prefix + head
            while left > 0 and (piece := await source.some(left)):
                left -= len(piece)
                if passes:
                    yield piece

    async def _passes(self, request: Request | None, at: At) -> bool:
        rule = self._proxy.rule_for(request, at) if request is not None else None
        return rule is None or await rule.passes()

    def _answered(self, correlation_id: int) -> Request | None:
        """The request that an answer belongs to. Answers come in order: requests before it never get one."""
        if not any(request.correlation_id == correlation_id for request in self._unanswered):
            return None
        while (request := self._unanswered.popleft()).correlation_id != correlation_id:
            pass
        return request


def _parsed(head: bytes) -> Request | None:
    """None where a frame is too short for a request: a token of an old SASL handshake."""
    if len(head) < _HEADER.size:
        return None
    api, version, correlation_id, length = _HEADER.unpack_from(head)
    client_id = head[_HEADER.size : _HEADER.size + max(0, length)].decode(errors="replace")
    return Request(api, version, correlation_id, client_id)
