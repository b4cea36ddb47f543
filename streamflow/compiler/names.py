"""How everything that a topology makes on a log is named: from ids, never from positions."""

from __future__ import annotations

import re

NAME_CHARS_MAX = 249  # Kafka's limit
_LEGAL = re.compile(r"^[A-Za-z0-9._-]+$")


def trigger_topic(workflow: str, node: str) -> str:
    return f"{workflow}.{node}.trigger"


def repartition_topic(workflow: str, node: str) -> str:
    return f"{workflow}.{node}.repartition"


def changelog_topic(workflow: str, node: str, store: str) -> str:
    return f"{workflow}.{node}.{store}.changelog"


def dead_letter_topic(workflow: str) -> str:
    return f"{workflow}.dead-letter"


def errors_topic(workflow: str) -> str:
    return f"{workflow}.errors"


def ledger_topic(workflow: str, stage: str) -> str:
    return f"{workflow}.{stage}.ledger"


def journal_topic(workflow: str, stage: str) -> str:
    return f"{workflow}.{stage}.journal"


def executions_topic(workflow: str) -> str:
    return f"{workflow}.executions"


def control_topic(workflow: str) -> str:
    return f"{workflow}.control"


def again_topic(workflow: str) -> str:
    return f"{workflow}.again"


def item_record(workflow: str, node: str) -> str:
    """Full name of the Avro record on an internal topic, such as `big_orders.priced.Item`."""
    return ".".join(avro_name(part) for part in (workflow, *node.split("."), "Item"))


def avro_name(text: str) -> str:
    """`text` with every character that an Avro name may not have replaced by `_`."""
    made = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text)
    return f"_{made}" if not made or made[0].isdigit() else made


def why_illegal(topic: str) -> str:
    """What Kafka has against a topic name; "" if nothing."""
    if not topic or topic in (".", ".."):
        return "it is empty" if not topic else "it is reserved"
    if len(topic) > NAME_CHARS_MAX:
        return f"it has {len(topic)} characters; {NAME_CHARS_MAX} are allowed"
    if not _LEGAL.match(topic):
        wrong = sorted({c for c in topic if not _LEGAL.match(c)})
        return f"it holds {', '.join(map(repr, wrong))}; letters, digits, '.', '_' and '-' are allowed"
    return ""
