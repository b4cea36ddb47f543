"""The large run of the kill tests, on a broker of its own: `./dev soak`. Figures of each attack, and the judgement."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_security import Listener
from streamflow.testing.kafka_server import KafkaServer
from tests.kafka import attacks, nexmark_soak
from tests.kafka.ground import Ground
from tests.kafka.test_kill import STEPS


class Broker(NamedTuple):
    """A broker, and the proxy before it."""

    server: KafkaServer
    proxy: KafkaProxy


Attack = Callable[[Ground, Broker, random.Random], None]


def kills(ground: Ground, _: Broker, choose: random.Random) -> None:
    done = attacks.random_kills(ground, 20, choose, say)
    if done < 20:
        raise AssertionError(f"the work was done after {done} kills: give more --records")


def steps(ground: Ground, _: Broker, choose: random.Random) -> None:
    attacks.kills_at_steps(ground, STEPS * 2, say)


def zombies(ground: Ground, _: Broker, choose: random.Random) -> None:
    attacks.zombies(ground, 5, choose, say)


def broker(ground: Ground, one: Broker, _: random.Random) -> None:
    attacks.broker_kills(ground, one.server, 5, say)


def network(ground: Ground, one: Broker, _: random.Random) -> None:
    ground.via = f"{one.proxy.host}:{one.proxy.port}"
    ground.environment.update(attacks.IMPATIENT)
    met = attacks.bad_network(ground, one.proxy, 12, say)
    if met < 12:
        raise AssertionError(f"the work was done after {met} outages: give more --records")


def storm(ground: Ground, _: Broker, choose: random.Random) -> None:
    longest = attacks.storm(ground, seconds=180, every_s=2, say=say)
    if longest > 15:
        raise AssertionError(f"no progress for {longest:.1f} s")


ATTACKS: dict[str, Attack] = {
    "kills": kills, "steps": steps, "zombies": zombies, "broker": broker, "network": network, "storm": storm,
}  # fmt: skip
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:7.1f} s  {text}", flush=True)


def main() -> int:
    if sys.argv[1:2] == ["nexmark"]:
        return nexmark_soak.main(sys.argv[2:], say)
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("attacks", nargs="*", help=f"of {', '.join(ATTACKS)}; default: all. Or: nexmark --help")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    wrong = [name for name in args.attacks if name not in ATTACKS]
    if wrong:
        parser.error(f"there is no attack {wrong[0]!r}")
    folder = Path(tempfile.mkdtemp(prefix="streamflow-soak-"))
    try:
        settings = {"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0"}
        with KafkaProxy(seed=args.seed) as proxy:
            listeners = [Listener(name="PROXIED", advertised_port=proxy.port)]
            with KafkaServer(folder / "kafka", settings=settings, listeners=listeners) as server:
                proxy.forward_to(server.host, server.port_of("PROXIED"))
                for name in args.attacks or ATTACKS:
                    _attack(name, Broker(server, proxy), folder, args.records, args.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _attack(name: str, one: Broker, folder: Path, records: int, seed: int) -> None:
    ground = Ground(folder / name, one.server.bootstrap, f"soak-{name}", records, session_timeout_s=3)
    try:
        say(f"{name}: {records:,} numbered, keyed items on {ground.partitions} partitions")
        ground.make()
        say("filled")
        ATTACKS[name](ground, one, random.Random(seed))
        ground.finish(timeout_s=1_800)
        ground.judge()
        say(f"{name}: {records:,} in, 0 lost, 0 doubled, order per key kept")
    finally:
        ground.stop()


if __name__ == "__main__":
    sys.exit(main())
