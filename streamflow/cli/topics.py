"""`streamflow topics`: what is on the log."""

from __future__ import annotations

from streamflow.cli.common import DEFAULT_LOG, JsonOption, LogOption, existing_log, run_async
from streamflow.cli.output import print_json, table


def topics(log: LogOption = DEFAULT_LOG, json: JsonOption = False) -> None:
    """List topics with partitions and records."""
    run_async(_topics(log, json))


async def _topics(address: str, as_json: bool) -> None:
    from streamflow.model.positions import TopicPartition

    facts = []
    async with existing_log(address) as log:
        for name, info in sorted((await log.topics()).items()):
            ranges = [await log.offsets(TopicPartition(name, p)) for p in range(info.partitions)]
            facts.append(
                {
                    "topic": name,
                    "partitions": info.partitions,
                    "records": sum(end - start for start, end in ranges),
                    "incarnation": info.incarnation,
                    "config": dict(info.config),
                    "offsets": [{"start": start, "end": end} for start, end in ranges],
                }
            )
    if as_json:
        print_json(facts)
    else:
        print(table([(f["topic"], f["partitions"], f["records"]) for f in facts], ("topic", "partitions", "records")))
