"""Where the Kafka broker's jars come from: Maven artifacts, fetched once into a cache.

Kafka publishes all of its server as Maven artifacts, so a broker needs neither a container engine nor an archive to
unpack: a machine with Java and Maven can start one. The jars are laid down whole or not at all, so any number of
processes may ask at once.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from streamflow.sdk.errors import StreamflowError

KAFKA_VERSION = "4.3.1"
JAVA_VERSION_MIN = 17  # what Kafka 4 brokers run on
FETCH_TIMEOUT_S = 900
_COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_ARTIFACTS = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),  # argparse and the tools' shared classes
    ("org.slf4j", "slf4j-simple", "1.7.36"),  # the API version that Kafka 4.3 is built against
)


class BrokerError(StreamflowError):
    """No broker can be started here: Java or Maven is missing or too old, or the broker did not come up."""

    code = "SF520"


def jars() -> Path:
    """The folder of the broker's jars, fetched on first use (about 55 MB).

    Raises:
        BrokerError: Maven is missing, or could not fetch them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamflow"
    ready = cache / f"kafka-{KAFKA_VERSION}"
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    # One fetch at a time: Maven's own repository does not promise to bear two at once.
    with (cache / f"kafka-{KAFKA_VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            _fetch(ready)
    return ready


def java() -> str:
    """The Java to run, JAVA_HOME's before the PATH's.

    Raises:
        BrokerError: there is none, or it is older than `JAVA_VERSION_MIN`.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    if found is None:
        where = f"JAVA_HOME ({home})" if home else "the PATH"
        raise BrokerError(
            f"no java in {where}.", mend=f"Install a Java {JAVA_VERSION_MIN} or newer runtime, or set JAVA_HOME."
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, timeout=60)
    version = _major_version(said.stderr + said.stdout)
    if version < JAVA_VERSION_MIN:
        raise BrokerError(
            f"{found} is Java {version or 'of an unknown version'}; Kafka {KAFKA_VERSION} needs {JAVA_VERSION_MIN}.",
            mend="Install a newer one, or set JAVA_HOME to it.",
        )
    return found


def _major_version(text: str) -> int:
    """17 from `version "17.0.15"`, 8 from `version "1.8.0_402"`, 0 when no version is named."""
    named = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(named[1]) if named else 0


def _fetch(ready: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError(
            f"no mvn on the PATH; it fetches Kafka {KAFKA_VERSION} once.", mend="Install Apache Maven 3.6 or newer."
        )
    with tempfile.TemporaryDirectory(prefix="kafka-fetch-", dir=ready.parent) as scratch:
        pom, into = Path(scratch) / "pom.xml", Path(scratch) / "jars"
        pom.write_text(_pom(), encoding="utf-8")
        command = [maven, "-B", "-q", "-f", str(pom), _COPY_GOAL, f"-DoutputDirectory={into}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired as late:
            raise BrokerError(
                f"Maven did not fetch Kafka {KAFKA_VERSION} within {FETCH_TIMEOUT_S} s.",
                mend="Look at the network and at Maven's settings.",
            ) from late
        if done.returncode != 0 or not any(into.glob("kafka_2.13-*.jar")):
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise BrokerError(
                f"Maven could not fetch Kafka {KAFKA_VERSION} (exit {done.returncode}):\n{said}\n",
                mend="Look at the network and at Maven's settings.",
            )
        into.rename(ready)


def _pom() -> str:
    wanted = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        for group, name, version in _ARTIFACTS
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>streamflow</groupId><artifactId>dev-kafka</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{wanted}</dependencies></project>"
    )
