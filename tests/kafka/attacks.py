"""What is done to the workers and the broker of a `Ground` while they work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_rules import Api, At, Do
from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import Ground, Worker

Say = Callable[[str], None]
# For workers behind a proxy: what is held there for HELD_MS is given up before it arrives.
IMPATIENT = {"STREAMFLOW_KAFKA_REQUEST_TIMEOUT_MS": "2000", "STREAMFLOW_KAFKA_TRANSACTION_TIMEOUT_MS": "10000"}
HELD_MS, OUTAGE_S = 3_000, 4.0
FAULTS: list[tuple[Api, At, Do]] = [
    (Api.END_TXN, "request", "hold"),
    (Api.END_TXN, "response", "drop"),
    (Api.END_TXN, "response", "cut"),
    (Api.TXN_OFFSET_COMMIT, "response", "cut"),
    (Api.PRODUCE, "request", "hold"),
]


def silent(_: str) -> None:
    """Nothing is said."""


def alive(ground: Ground) -> list[Worker]:
    return [worker for worker in ground.workers if worker.process.poll() is None and not worker.asked]


def random_kills(ground: Ground, kills: int, choose: random.Random, say: Say = silent) -> int:
    """Two workers; one of them is killed after some progress and replaced, again and again. How often that was."""
    for _ in range(2 - len(alive(ground))):
        ground.start()
    begun = ground.done()
    portion = (ground.count - begun) // (kills + 2)
    for number in range(kills):
        ground.wait_for(min(ground.count, ground.done() + choose.randrange(1, portion)), timeout_s=300)
        if ground.done() >= ground.count:
            return number
        victim = choose.choice(alive(ground))
        victim.kill()
        say(f"kill {number + 1} at {ground.done():,} of {ground.count:,}")
        ground.start()
    return kills


def kills_while_rescaling(ground: Ground, kills: int, choose: random.Random, say: Say = silent) -> int:
    """One worker, then three, then one again; in between a worker is killed and replaced. How often that met work."""
    portion = ground.count // (kills + 2)
    for number in range(kills):
        # A third of the kills to each.
        wanted = 3 if kills // 3 <= number < kills - kills // 3 else 1
        while len(alive(ground)) < wanted:
            ground.start()
        for leaving in alive(ground)[wanted:]:
            leaving.terminate()
        ground.wait_for(min(ground.count, ground.done() + choose.randrange(1, portion)), timeout_s=300)
        if ground.done() >= ground.count and not ground.lag():
            return number
        choose.choice(alive(ground)).kill()
        say(f"kill {number + 1}, of {wanted}, at {ground.done():,} of {ground.count:,}")
        ground.start()
    for leaving in alive(ground)[1:]:
        leaving.terminate()
    return kills


def kills_at_steps(ground: Ground, steps: Sequence[str], say: Say = silent) -> None:
    """One worker after another kills itself at a named step of its commits."""
    for number, step in enumerate(steps):
        doomed = ground.start(crash_at=f"{step}:{1 + number % 3}")
        doomed.crashed()
        say(f"died at {step}, {ground.done():,} of {ground.count:,} done")


def zombies(ground: Ground, count: int, choose: random.Random, say: Say = silent) -> None:
    """Workers are frozen until the group has given their tasks away, then they go on as if nothing had been."""
    for _ in range(2 - len(alive(ground))):
        ground.start()
    portion = ground.count // (count + 2)
    for number in range(count):
        ground.wait_for(min(ground.count, ground.done() + choose.randrange(1, portion)), timeout_s=300)
        zombie = choose.choice(alive(ground))
        zombie.freeze()
        if len(alive(ground)) < 3:
            ground.start()
        before = ground.done()
        # The others go on with all partitions: the zombie's tasks are theirs now.
        time.sleep(ground.session_timeout_s * 2)
        say(f"zombie {number + 1}: {before:,} done when it froze, {ground.done():,} when it wakes")
        zombie.thaw()


def storm(ground: Ground, *, seconds: float, every_s: float, say: Say = silent) -> float:
    """A worker joins or leaves all the time. The longest time without progress, in seconds, while there was work."""
    ground.start()
    ground.wait_for(1)
    started = changed = progressed = time.monotonic()
    last, longest, joining = ground.done(), 0.0, True
    while time.monotonic() - started < seconds and last < ground.count:
        now, done = time.monotonic(), ground.done()
        if done > last:
            longest, progressed, last = max(longest, now - progressed), now, done
        if now - changed >= every_s:
            changed = now
            if joining or len(alive(ground)) < 2:
                ground.start()
            else:
                alive(ground)[0].terminate()
            joining = not joining
        ground.check_alive()
        time.sleep(0.1)
    longest = max(longest, time.monotonic() - progressed) if last < ground.count else longest
    say(f"storm: {last:,} of {ground.count:,} done, the longest stand-still took {longest:.1f} s")
    return longest


def broker_kills(ground: Ground, server: KafkaServer, times: int, say: Say = silent) -> None:
    """The broker is killed and started again."""
    for _ in range(2 - len(alive(ground))):
        ground.start()
    portion = ground.count // (times + 2)
    for number in range(times):
        ground.wait_for(min(ground.count, ground.done() + portion), timeout_s=300)
        server.kill()
        say(f"broker killed, time {number + 1}")
        time.sleep(2)
        server.start()
        ground.check_alive()


def bad_network(ground: Ground, proxy: KafkaProxy, outages: int, say: Say = silent, *, chance: float = 0.01) -> int:
    """Two workers behind a proxy that holds commits back and loses answers all the while, and fails in turn.

    It is slow, half-open in one direction and in both, and cut: each after some more progress. How many met work.
    """
    rules = [
        proxy.on(api, at, do, for_ms=HELD_MS if do == "hold" else None, times=None, chance=chance)
        for api, at, do in FAULTS
    ]
    for _ in range(2 - len(alive(ground))):
        ground.start()
    ways: list[tuple[str, Callable[[], object]]] = [
        ("slow", lambda: proxy.delay(20, jitter_ms=60)),
        ("half-open", proxy.freeze),
        ("cut", proxy.cut),
        ("deaf", lambda: proxy.freeze("to_client")),
    ]
    portion, met = (ground.count - ground.done()) // (outages + 2), 0
    for number in range(outages):
        ground.wait_for(min(ground.count, ground.done() + portion), timeout_s=600)
        before = ground.done()
        if before >= ground.count:
            break
        name, begin = ways[number % len(ways)]
        begin()
        time.sleep(OUTAGE_S)
        proxy.delay(0)
        proxy.thaw()
        say(f"network {name} for {OUTAGE_S:.0f} s: {before:,} done before, {ground.done():,} after")
        ground.check_alive()
        met += 1
    caught = ", ".join(f"{rule!r} {rule.caught} times" for rule in rules)
    proxy.heal()
    say(f"on the way: {caught}")
    return met
