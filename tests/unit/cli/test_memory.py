"""What the command sets about memory: in force, and not against the user's own settings."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Frees 100 MB in pieces of 1 MB and tells how much of it the process still has, in MB.
_KEPT = """
import ctypes, os, resource
from streamflow.cli.memory import keep_memory
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
before = resident()
pieces = [libc.malloc(1 << 20) for _ in range(100)]
for p in pieces:
    ctypes.memset(p, 1, 1 << 20)
for p in pieces:
    libc.free(p)
print(resident() - before, os.environ["_RJEM_MALLOC_CONF"] if "_RJEM_MALLOC_CONF" in os.environ else "")
"""


def kept(call: str, **environment: str) -> tuple[int, str]:
    answer = subprocess.run(
        [sys.executable, "-c", _KEPT.format(call=call)], env=environment, capture_output=True, text=True, check=True
    )
    megabytes, _, jemalloc = answer.stdout.strip().partition(" ")
    return int(megabytes), jemalloc


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and sets glibc")
def test_freed_memory_stays_with_the_process() -> None:
    assert kept("")[0] < 10
    megabytes, jemalloc = kept("keep_memory()")
    assert megabytes > 90
    assert jemalloc.startswith("dirty_decay_ms:10000")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and sets glibc")
def test_what_the_user_set_holds() -> None:
    megabytes, jemalloc = kept("keep_memory()", MALLOC_TRIM_THRESHOLD_="1000000", _RJEM_MALLOC_CONF="narenas:1")
    assert megabytes < 10
    assert jemalloc == "narenas:1"
