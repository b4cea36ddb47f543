"""How this process asks the system for memory.

A step allocates tens of megabytes of columns and gives them back, some twenty times a second. Both allocators beneath
(glibc's for Python and numpy, jemalloc in polars) would hand such pages back to the kernel each time, and each time the
kernel would fault them in again, cleared: three quarters of all page faults of a run, a tenth of its CPU
(docs/decisions/0014). Here they keep what they had, for a while and within a bound.
"""

from __future__ import annotations

import os
from typing import Final

KEPT_BYTES_MAX: Final = 256 << 20  # free memory at the top of a heap that is not handed back
MAPPED_BYTES_MIN: Final = 64 << 20  # a single array of this size or more is handed back at once
ARENAS_MAX: Final = 2  # heaps: more of them keep more, and the interpreter's lock lets hardly more than one work
JEMALLOC: Final = "dirty_decay_ms:10000,muzzy_decay_ms:10000"  # jemalloc's own default; polars sets 500 ms

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_SETTINGS: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep_memory() -> None:
    """Set both allocators, unless the environment sets them. Before polars is loaded: its allocator looks only then."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", JEMALLOC)
    if any(name in os.environ for name in _SETTINGS):
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc: nothing to set
        return
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
    mallopt(_M_ARENA_MAX, ARENAS_MAX)
