"""Where keys go, as Kafka's own producer places them: its class is asked, not a broker."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from streamflow.operators.partition import murmur2, partition_for
from streamflow.testing.kafka_artifacts import jars, java

# Reads keys as lines of hex; writes the hash of each, and its partition of 7 and of 64.
ASK = """
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

public class Ask {
    public static void main(String[] none) throws Exception {
        for (String line : new String(System.in.readAllBytes()).split("\\n", -1)) {
            byte[] key = HexFormat.of().parseHex(line);
            System.out.println(Utils.murmur2(key) + " " + BuiltInPartitioner.partitionForKey(key, 7) + " "
                + BuiltInPartitioner.partitionForKey(key, 64));
        }
    }
}
"""


@pytest.mark.usefixtures("needs_kafka")
@pytest.mark.skipif(shutil.which("javac") is None, reason="running Java from source needs a JDK")
def test_keys_go_where_the_java_client_puts_them(tmp_path: Path) -> None:
    rng = random.Random(3)
    keys = [rng.randbytes(n) for n in (*range(70), *[rng.randrange(300) for _ in range(2_000)])]
    keys += [str(n).encode() for n in range(500)] + ["é中".encode() * n for n in range(9)]
    (tmp_path / "Ask.java").write_text(ASK)
    done = subprocess.run(
        [java(), "-cp", f"{jars()}/*", str(tmp_path / "Ask.java")],
        input="\n".join(key.hex() for key in keys), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    column = pl.Series(keys, dtype=pl.Binary)
    ours = zip(murmur2(column), partition_for(column, 7), partition_for(column, 64), strict=True)
    assert done.stdout.splitlines() == [" ".join(map(str, told)) for told in ours]
