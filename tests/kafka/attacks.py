"""What is done to the workers and the broker of a `Ground` while they work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import Ground, Worker

Say = Callable[[str], None]


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
