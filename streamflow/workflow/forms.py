"""The parts of a document that are forms: read, checked and described in the JSON Schema like a node's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streamflow.model.policies import (
    LONGEST_MS,
    ErrorWorkflow,
    Executions,
    Guarantee,
    Handled,
    OnCancel,
    RecoverPolicy,
    Recovery,
    RetryPolicy,
    RunPolicy,
    StateBackend,
)
from streamflow.nodes.slots_params import RateForm
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Json, param
from streamflow.workflow.error_forms import RETRY_TOTAL_MS_MAX, RetryForm
from streamflow.workflow.model import CheckpointPolicy, Metadata, WorkflowPolicies
from streamflow.workflow.slots_forms import ConcurrencyForm, slots_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsForm:
    """Which items are recorded, whole, so that their executions can be rolled back to there."""

    nodes: tuple[str, ...] = param(min_length=1, help="Nodes before which items are recorded, as they come to them.")
    interval_ms: int | None = param(
        default=None, ge=1, help="At most one record of an execution and node in this time, by the clock of the tasks."
    )
    keep_ms: int = param(default=0, ge=0, help="How long records are kept; 0 keeps them.")
    when: Expression | None = param(
        default=None, help="An execution is rolled back only to items for which this is true. Left out: to all."
    )
    rollbacks_max: int = param(default=3, ge=1, le=1_000, help="How often an execution is rolled back to a node.")

    def policy(self) -> CheckpointPolicy:
        return CheckpointPolicy(
            nodes=self.nodes, interval_ms=self.interval_ms, keep_ms=self.keep_ms, when=self.when,
            rollbacks_max=self.rollbacks_max,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorWorkflowForm:
    """The workflow that hears of what fails here, with the whole error."""

    file: str = param(
        help="Its file, in the folder of this one or below it, or its name there. It has an `error-trigger` of this "
        "workflow, and is run by itself.",
        min_length=1,
    )
    also: tuple[Handled, ...] = param(
        default=(),
        help="Policies that handle items which it is to hear of all the same (fallbacks count as `error_port`, those "
        "with a value as `pass`); `cancelled` and `timed_out`: items that end because their execution does; `breaker`: "
        "circuits that open and close; `stop`: where the workflow halts, each time it does. They are written to the "
        "topic `<workflow>.errors`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverForm:
    """What workers do by themselves for executions that failed, as `streamflow executions` does it by command."""

    action: Literal["retry", "resume", "rollback", "compensate"] = param(
        help="retry: anew, from the trigger. resume: on, from the node that failed. rollback: on, from a checkpoint. "
        "compensate: the steps are undone."
    )
    after_ms: int = param(default=0, ge=0, le=365 * 86_400_000, help="How long a dead letter waits for that.")
    attempts: int = param(default=3, ge=1, le=1_000, help="How often; what fails then stays a dead letter.")
    codes: tuple[str, ...] = param(default=(), help="Only what failed with one of these codes. Left out: all.")
    nodes: tuple[str, ...] = param(default=(), help="Only what failed in one of these nodes. Left out: in any.")
    to: str = param(default="", help="rollback: the node before which it begins again. Left out: the last checkpoint.")

    def policy(self) -> RecoverPolicy:
        return RecoverPolicy(
            action=self.action, after_ms=self.after_ms, attempts=self.attempts, codes=self.codes, nodes=self.nodes,
            to=self.to,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextForm:
    """Which headers of the records that start executions tell of what these are part of; `meta` names it."""

    user: str | None = param(default=None, help="Header of `meta.user`, such as header:x-user.", min_length=1)
    session: str | None = param(default=None, help="Header of `meta.session`.", min_length=1)
    trace: str | None = param(
        default=None, help="Header of `meta.trace`. Left out: traceparent, as W3C has it.", min_length=1
    )

    def headers(self) -> dict[str, str]:
        named = {"user": self.user, "session": self.session, "trace": self.trace}
        return {name: header.removeprefix("header:") for name, header in named.items() if header is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentForm:
    """What is different in an environment."""

    vars: Mapping[str, Json] = param(help="Values that take the place of those under `vars` of the workflow.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyForm:
    """Whom to tell of what fails, by a `notification` that reads the dead letters of the workflow."""

    on: tuple[Literal["failed"], ...] = param(
        default=("failed",), help="What is told: items that failed and that nothing took.", min_length=1
    )
    url_env: tuple[str, ...] = param(default=(), help="Environment variables with the Apprise URLs of services.")
    url_file: str | None = param(default=None, help="A file with such URLs, one a line.")
    title: str = param(
        default="{{ workflow }}: an item failed in {{ node }} ({{ code }})",
        help="The title; a template over the dead letter, see `error-trigger`.",
    )
    body: str | None = param(default=None, help="The text. Left out: message, place and execution.", multiline=True)
    at_most: str = param(default="10/1m", help="How many within how long; the next one tells how many were left out.")

    def parameters(self) -> dict[str, object]:
        """Of the node that is made of it."""
        where = "{{ topic }}/{{ partition }} offset {{ offset }}, execution {{ execution }}"
        made: dict[str, object] = {"title": self.title, "at_most": self.at_most}
        made["body"] = self.body if self.body is not None else "{{ message }}\n\n" + where
        if self.url_env:
            made["url_env"] = list(self.url_env)
        if self.url_file is not None:
            made["url_file"] = self.url_file
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class PoliciesForm:
    """Defaults for all nodes, and how tasks run."""

    on_error: Literal["stop", "continue", "dead_letter", "compensate"] = param(
        default="dead_letter", help="What happens to an item that fails, where its node says nothing else."
    )
    retry: RetryForm | None = param(default=None, help="How often an item that failed is tried again.")
    guarantee: Guarantee = param(
        default="exactly_once",
        help="What holds for outputs when a task is restarted. at_least_once: they are seen at once, before "
        "their commit, and may come twice.",
    )
    commit_interval_ms: int = param(default=100, ge=1, le=RETRY_TOTAL_MS_MAX, help="Time between commits of a task.")
    pending_bytes_max: int = param(default=32 << 20, ge=1, help="Commit earlier when this much output waits.")
    step_bytes_max: int = param(default=2 << 20, ge=1, help="Encoded input of one step of a task.")
    input_wait_ms: int = param(
        default=10_000,
        ge=0,
        help="Where inputs are taken in the order of their event times: the longest wait for rows that another stage "
        "is known to be about to give.",
    )
    state: StateBackend = param(
        default="memory",
        help="Where tasks keep their state: in memory, or on disk, where it may be larger than memory and is still "
        "there after a restart.",
    )
    standbys: int = param(
        default=0,
        ge=0,
        le=16,
        help="How many other workers keep the state of each task up to date, so that a take-over reads little. On "
        "Kafka; elsewhere there is one worker.",
    )
    weight: int = param(
        default=1,
        ge=1,
        le=1_000,
        help="Its part where several workflows share a process: while all have something to do, each computes in "
        "proportion to its weight.",
    )
    executions: Executions = param(
        default="none",
        help="Which executions leave records of what became of their items: none, those with a failure, or all.",
    )
    executions_kept_ms: int = param(
        default=0, ge=0, help="How long records of executions are kept, by the clock of their tasks; 0 keeps them."
    )
    timeout_ms: int = param(
        default=0,
        ge=0,
        le=LONGEST_MS,
        help="How long an execution may take since its trigger item was read, by the clock of the tasks: what is left "
        "of it then ends as timed out. 0: as long as it does.",
    )
    on_cancel: OnCancel | None = param(
        default=None,
        help="What becomes of the steps of an execution that is cancelled or has had its time: `compensate` undoes "
        "them as for items that fail, `drop` leaves them. Left out: they are undone where items that fail are.",
    )
    samples: int = param(
        default=0, ge=0, le=100, help="How many items of each port a record of an execution shows, of each step."
    )
    redact: tuple[str, ...] = param(
        default=(), help="Fields, however deep in an item, whose values samples do not show."
    )
    recovery: Recovery = param(
        default="none",
        help="commands: executions can be retried, resumed and compensated by commands. What fails is kept with all "
        "that it takes to go on from there.",
    )
    recover: RecoverForm | None = param(
        default=None, help="What workers do by themselves for executions that failed. They can be recovered then."
    )
    checkpoints: CheckpointsForm | None = param(
        default=None, help="Which items are recorded on the way. Executions can then be recovered, and rolled back."
    )
    partitions: int = param(default=4, ge=1, le=10_000, help="Partitions of user topics that have to be created.")
    concurrency: ConcurrencyForm | None = param(
        default=None, help="How many executions are under way at once. Needs `executions: all`, and one trigger."
    )
    rate: RateForm | None = param(default=None, help="How many executions begin in a period. Needs one trigger.")
    error_workflow: ErrorWorkflowForm | None = param(
        default=None, help="The workflow that hears of what fails here; `check` looks whether it does."
    )
    environment: str = param(
        default="",
        help="The environment that holds, where neither `--env` nor STREAMFLOW_ENVIRONMENT names another.",
        pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}|",
    )
    context: ContextForm | None = param(default=None, help="Which headers tell of user, session and trace.")
    notify: NotifyForm | None = param(default=None, help="Whom to tell of items that failed and that nothing took.")

    def __post_init__(self) -> None:
        recorded = self.checkpoints.nodes if self.checkpoints else ()
        if self.recover is not None and self.recover.action == "rollback" and not recorded:
            raise ValueError("recover by rollback goes back to a checkpoint: say `checkpoints: {nodes: [...]}`.")
        if self.recover is not None and self.recover.to and self.recover.to not in recorded:
            raise ValueError(f"recover goes back to {self.recover.to!r}, before which nothing is recorded.")
        if self.retry is not None and self.retry.mode != "block":
            raise ValueError(
                f"mode {self.retry.mode} is for single nodes: each keeps what it puts aside on a topic of its own."
            )

    def policies(self) -> WorkflowPolicies:
        run = RunPolicy(
            guarantee=self.guarantee,
            commit_interval_ms=self.commit_interval_ms,
            pending_bytes_max=self.pending_bytes_max,
            step_bytes_max=self.step_bytes_max,
            input_wait_ms=self.input_wait_ms,
            state=self.state,
            standbys=self.standbys,
            weight=self.weight,
        )
        return WorkflowPolicies(
            on_error=self.on_error,
            retry=self.retry.policy() if self.retry else RetryPolicy(),
            retry_when=self.retry.when if self.retry else None,
            run=run,
            executions=self.executions,
            executions_kept_ms=self.executions_kept_ms,
            timeout_ms=self.timeout_ms,
            on_cancel=self.on_cancel,
            samples=self.samples,
            redact=self.redact,
            recovery=self.recovery,
            recover=self.recover.policy() if self.recover else None,
            checkpoints=self.checkpoints.policy() if self.checkpoints else None,
            partitions=self.partitions,
            slots=slots_of(self.concurrency, self.rate, self.partitions),
            environment=self.environment,
            context=self.context.headers() if self.context is not None else {},
            notify=self.notify.parameters() if self.notify is not None else None,
            error_workflow=None
            if self.error_workflow is None
            else ErrorWorkflow(file=self.error_workflow.file, also=tuple(dict.fromkeys(self.error_workflow.also))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataForm:
    """What tools show about a node; nothing runs by it."""

    version: str = param(default="", help="Version of the node as its author counts.")
    category: str = param(default="", help="Group under which tools list the node.")
    description: str = param(default="", help="What the node is for.", multiline=True)
    icon: str = param(default="", help="Name of an icon.")
    color: str = param(default="", help="Colour on the canvas, such as '#2f7ed8'.")
    tags: tuple[str, ...] = param(default=(), help="Words to find the node by.")

    def metadata(self) -> Metadata:
        return Metadata(
            version=self.version,
            category=self.category,
            description=self.description,
            icon=self.icon,
            color=self.color,
            tags=self.tags,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForm:
    """What every node may say besides its parameters (`type`, `parameters` and `on_error` are read apart)."""

    name: str = param(default="", help="Name for people; left out, the id is shown.")
    disabled: bool = param(default=False, help="A disabled node passes its input through.")
    notes: str = param(default="", help="Remarks for readers.", multiline=True)
    position: tuple[float, ...] = param(default=(), help="Place on the canvas: [x, y].")
    credentials: Mapping[str, str] | None = param(
        default=None, help="Ids of stored credentials by what they are for. Never secrets themselves."
    )
    metadata: MetadataForm | None = param(default=None, help="What tools show about the node.")
    retry: RetryForm | None = param(default=None, help="How often an item that failed here is tried again.")
    compensate: str = param(
        default="",
        help="Node that undoes what this one did for an item that fails for good behind it, in a node of policy "
        "`compensate`. It gets the failed item.",
    )
    compensate_when: Expression | None = param(
        default=None, help="Only failed items for which this is true are compensated. It may name `error.code`."
    )

    def __post_init__(self) -> None:
        if len(self.position) not in (0, 2):
            raise ValueError("position is two numbers: [x, y].")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderForm:
    """The top of a document, but for nodes, connections and tests."""

    workflow: str = param(help="Id of the workflow: names its topics, groups and stores.")
    description: str = param(default="", help="What the workflow is for.", multiline=True)
    version: Json = param(default="", help="Version of the workflow as its author counts.")
    policies: PoliciesForm | None = param(default=None, help="Defaults for all nodes, and how tasks run.")
    vars: Mapping[str, Json] | None = param(default=None, help="Constants: expressions read them as `vars.<name>`.")
    environments: Mapping[str, EnvironmentForm] | None = param(
        default=None, help="Environments by name, each with the vars that differ there."
    )
    registry: str = param(
        default="", help="Schema registry: a folder or a URL. Left out: `schemas` beside the workflow."
    )
