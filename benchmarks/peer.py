"""The programs of peers: how each is set up, how a run is started, and what it says of itself.

Each has a folder under benchmarks/peers with its program, pinned requirements and a page. Java programs are built with
Maven in their folder, Python ones get a virtual environment of their own under `.bench/` in the repository: their
requirements exclude each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

PEERS: Final = Path(__file__).parent / "peers"
ENVIRONMENTS: Final = Path(__file__).parents[1] / ".bench"
RUN_S_MAX: Final = 600
_QUIET: Final = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
_JAVA: Final = {
    "kafka-streams": ["-Xmx3g"],
    "flink": [
        "-Xmx4g",
        *(f"--add-opens=java.base/java.{m}=ALL-UNNAMED" for m in ("util", "lang", "util.concurrent", "nio", "time")),
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to run one program. `settings`: what is not its default, for people to judge."""

    name: str
    program: str
    guarantee: str = ""
    threads: int = 1
    mode: str = "-"
    settings: str = ""
    flags: tuple[str, ...] = ()


def kafka_streams(guarantee: str, threads: int, *, mode: str = "updates", flags: tuple[str, ...] = ()) -> Peer:
    return Peer(
        name=f"kafka streams {guarantee}, {threads} thread{'s' * (threads > 1)}",
        program="kafka-streams",
        guarantee=guarantee,
        threads=threads,
        mode=mode,
        settings="-Xmx3g; RocksDB; caches of 10 MB; commits every 100 ms (exactly_once_v2) or 30 s; lz4 "
        + " ".join(flags),
        flags=flags,
    )


def flink(guarantee: str, threads: int, *, mode: str = "final") -> Peer:
    return Peer(
        name=f"flink {guarantee}, parallelism {threads}",
        program="flink",
        guarantee=guarantee,
        threads=threads,
        mode=mode,
        settings="-Xmx4g; state on the heap; checkpoints every second, transactional sink (exactly_once); lz4",
    )


QUIX: Final = Peer(name="quix streams exactly-once", program="quix", guarantee="exactly-once", mode="current",
                   settings="RocksDB, its own Avro serializers")  # fmt: skip
BYTEWAX: Final = Peer(
    name="bytewax", program="bytewax", settings="one worker, batches of 5,000, no recovery store: no guarantee"
)
FAUST: Final = Peer(name="faust at least once", program="faust", settings="tables in memory")
CONFLUENT: Final = Peer(
    name="confluent-kafka + fastavro", program="raw-python/raw_confluent.py", settings="no commits: no guarantee"
)
AIOKAFKA: Final = Peer(
    name="aiokafka + fastavro", program="raw-python/raw_aiokafka.py", settings="uvloop; no commits: no guarantee"
)
LIMIT: Final = Peer(name="fetch and append, nothing decoded", program="limit/limit.py",
                    settings="streamflow's own log; lz4; transactions every 100 ms")  # fmt: skip


class NotHere(Exception):
    """A peer could not be set up; says why."""


def command(peer: Peer, workload: str, bootstrap: str, source: str, target: str, n: int) -> list[str]:
    """The command of a run over n records. Sets the peer up when that was not done yet. Raises NotHere."""
    run = [bootstrap, source, target, str(n)]
    match peer.program:
        case "kafka-streams" | "flink":
            java = ["java", *_JAVA[peer.program], *peer.flags, _QUIET, "-cp", _classes(peer.program), "peers.Main"]
            return [*java, *run, workload, peer.guarantee, str(peer.threads), peer.mode]
        case "quix":
            return [_python("quix"), str(PEERS / "quix" / "quix_peer.py"), *run, workload, peer.guarantee, peer.mode]
        case "bytewax" | "faust":
            return [_python(peer.program), str(PEERS / peer.program / f"{peer.program}_peer.py"), *run, workload]
        case _:
            return [sys.executable, str(PEERS / peer.program), *run]


def told(command: list[str]) -> dict[str, Any]:
    """Run a peer's program; what it says of its run."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=RUN_S_MAX)
    line = next((line for line in done.stdout.splitlines() if line.startswith('{"peer"')), None)
    if done.returncode or line is None:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    found: dict[str, Any] = json.loads(line)
    return found


@cache
def _classes(program: str) -> str:
    folder = PEERS / program
    target = folder / "target"
    jar = target / f"{program}-peer-1.jar"
    if not jar.exists() or jar.stat().st_mtime < max(f.stat().st_mtime for f in (folder / "src").rglob("*.java")):
        print(f"building {program} with Maven", flush=True)
        _set_up(program, ["mvn", "-q", "package"], folder)
    return f"{jar}{os.pathsep}{target / 'deps' / '*'}"


@cache
def _python(program: str) -> str:
    """The interpreter of a peer's virtual environment, which has what its requirements name."""
    folder = ENVIRONMENTS / program
    wanted = "".join((PEERS / part / "requirements.txt").read_text() for part in (program, "common"))
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder.relative_to(ENVIRONMENTS.parent)}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        asked = [f"-r{PEERS / part / 'requirements.txt'}" for part in (program, "common")]
        _set_up(
            program, [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *asked], folder
        )
        stamp.write_text(wanted)
    return str(python)


def _set_up(program: str, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotHere(f"{program}: {command[0]} is not installed") from None
    if done.returncode:
        raise NotHere(f"{program}: {' '.join(command[:4])} … failed: {(done.stdout + done.stderr)[-500:]}")
