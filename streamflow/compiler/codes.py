"""Codes of what the compiler finds. SF21x belong to expressions, SF25x to what nodes find in their own parameters."""

from __future__ import annotations

from streamflow.workflow.environments import ENVIRONMENT

COPARTITION = "SF203"
NOT_INSTALLED = "SF220"
SCHEMAS_DIFFER = "SF221"
SCHEMA_UNKNOWN = "SF222"
FUNCTION_UNKNOWN = "SF223"
ONE_ROW_EXECUTION = "SF224"
SPREAD_EXECUTION = "SF225"
MIXED_EXTENTS = "SF226"
STAGE_CYCLE = "SF227"
TOPIC_READ_TWICE = "SF228"
TOPIC_NAME = "SF229"
TOPIC_COLLISION = "SF230"
TOPIC_ENCODINGS = "SF231"
FEEDBACK = "SF232"
NO_KEY = "SF233"
NO_LOOP = "SF234"
DISABLED_PORT = "SF235"
NO_SCHEMA = "SF236"
SPREAD_KEYS = "SF237"
GLOBAL_TABLE = "SF238"
PASSES_ON = "SF239"
RETRIES = "SF240"
COMPENSATION = "SF241"
ENDINGS = "SF247"
LOOP_BODY = "SF242"
LOOP_SCHEMA = "SF243"
SUB_FLOW = "SF244"
SLOTS = "SF264"
LATE_BEHIND_SLOTS = "SF265"
ORDER_GIVEN_UP = "SF261"
CHECKPOINTS = "SF249"
ERROR_WORKFLOW = "SF262"
RECOVER = "SF259"

CODES: dict[str, str] = {
    COPARTITION: "Rows that are joined must be in equal numbers of partitions.",
    NOT_INSTALLED: "A node kind that the compiler puts in must be installed.",
    SCHEMAS_DIFFER: "Items of all wires into one port must fit one schema.",
    SCHEMA_UNKNOWN: "A schema must exist, be readable and be a valid Avro schema.",
    FUNCTION_UNKNOWN: "A function must exist and be loadable.",
    ONE_ROW_EXECUTION: "A node that acts on all rows of an execution needs executions of several rows.",
    SPREAD_EXECUTION: "A node that acts on all rows of an execution needs them in one partition.",
    MIXED_EXTENTS: "Executions of different extents may not meet in a node that acts on whole ones.",
    STAGE_CYCLE: "Rows may not come back to a stage through a topic.",
    TOPIC_READ_TWICE: "Two triggers of one stage may not read the same topic.",
    TOPIC_NAME: "A topic's name must be one that Kafka takes.",
    TOPIC_COLLISION: "A topic of the topology may not have the name of another topic.",
    TOPIC_ENCODINGS: "All that read or write a topic must encode its records the same way.",
    FEEDBACK: "A workflow that writes a topic which it reads starts itself again (a warning).",
    NO_KEY: "A node that takes rows by key must say which.",
    NO_LOOP: "A loop connection needs a node that repeats rows.",
    DISABLED_PORT: "A disabled node passes on one input by one output.",
    NO_SCHEMA: "A node kind must say what its outputs hold.",
    SPREAD_KEYS: "A node that takes rows by key may not stand behind a repartition that spreads them otherwise.",
    PASSES_ON: "A failed item passes on where the node's output can hold it.",
    RETRIES: "Items are tried again by nodes with one input that keep nothing of them.",
    COMPENSATION: "What a step did is undone where items fail behind it with the policy `compensate`.",
    GLOBAL_TABLE: "A global table is read from one topic, and only looked into.",
    LOOP_BODY: "A loop needs a body that gives back what it was sent, and that rows enter through it alone.",
    LOOP_SCHEMA: "Items must come back to a loop in a schema that stays the same from round to round.",
    ENDINGS: "Executions can be ended, and what they did undone, where account is kept of them and of their steps.",
    SLOTS: "Slots are for executions that come through as one item each, and are told of.",
    LATE_BEHIND_SLOTS: "Event time does not wait for executions that wait for a slot (a warning).",
    SUB_FLOW: "A sub-flow is a file of the project that items can enter and leave, of the version that is pinned.",
    ORDER_GIVEN_UP: "Items that are delayed are overtaken by others of their key (a warning).",
    RECOVER: "What is recovered by itself failed in a node that is there.",
    CHECKPOINTS: "Items are recorded before nodes that they enter by one port, and not round after round.",
    ENVIRONMENT: "An environment is one of those that the workflow names, and overrides vars that it has.",
    ERROR_WORKFLOW: "An error workflow stands beside the workflow and has a trigger that hears of its errors.",
}
