"""Whether a broker serves, asked on the wire: no client library, no retries, one short connection."""

from __future__ import annotations

import socket
import struct

TIMEOUT_S = 5
# Metadata request, version 4: about no topic, and none to be created.
_METADATA_REQUEST = struct.pack(">hhih7si?", 3, 4, 1, 7, b"startup", 0, False)


def serves(host: str, port: int, cluster_id: str) -> bool:
    """Whether this cluster's broker answers there and counts itself among the live ones (a fenced broker does not).

    Another broker may hold the port that ours wants: an answer from that one is none.
    """
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            with connection.makefile("rb") as answers:
                size = answers.read(4)
                answer = answers.read(struct.unpack(">i", size)[0]) if len(size) == 4 else b""
    except OSError:
        return False
    # correlation id, throttle time, then the array of live brokers; the cluster's id stands behind it
    return len(answer) >= 12 and struct.unpack_from(">i", answer, 8)[0] > 0 and cluster_id.encode() in answer
