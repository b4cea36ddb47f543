"""Errors, all of them below one root.

StreamflowError                 code, message; str() is one whole sentence or more
├── DocumentError               a workflow document is wrong; carries Diagnostics (workflow.diagnostics)
├── UsageError                  the command line or a call was used wrongly
├── ItemError                   one item failed: follows the node's error policy, never stops a batch
├── CodecError                  bytes do not decode, or values do not encode
│   └── SchemaError             a schema is no schema, or two do not resolve
├── LogError                    the log could not do what was asked
│   ├── OffsetOutOfRange        outside [log start, high watermark]
│   ├── UnknownTopic
│   ├── TopicExists
│   ├── Fenced                  another producer took over this transactional id
│   ├── CommitUnknown           the outcome of a commit is not known: make a new producer and look
│   ├── LogFull                 no space; nothing committed was lost
│   ├── LogCorrupt              stored bytes fail their check where no torn tail explains it
│   ├── LogBusy                 a lock is held by another process
│   └── LogUnavailable          nobody answered in time; nothing is wrong with what was asked, try again
├── StateError                  a store cannot be restored or is used wrongly
│   ├── StateBroken             what a store keeps on disk cannot be used: begin it anew and restore it
│   ├── StateBusy               another process has it open
│   └── EntryTooLarge           an entry is more than a record of the changelog holds
└── Stopped                     policy `stop`: an item failed and the workflow halted there
"""

from __future__ import annotations

from typing import ClassVar


class StreamflowError(Exception):
    """Root of all errors raised on purpose. `code` is stable; `mend` says what to do about it."""

    code: ClassVar[str] = "SF000"

    def __init__(self, message: str, *, mend: str = "") -> None:
        self.message, self.mend = message, mend
        super().__init__(f"{self.code}: {message}{' ' + mend if mend else ''}")


class DocumentError(StreamflowError):
    code = "SF100"


class UsageError(StreamflowError):
    code = "SF010"


class ItemError(StreamflowError):
    """One item failed. `item_code` is what dead letters and error ports show, such as `division_by_zero`."""

    code = "SF300"

    def __init__(self, message: str, *, item_code: str = "failed") -> None:
        self.item_code = item_code
        super().__init__(message)


class CallLate(ItemError):
    """A call that a node makes for its items was not over in time, or not made because too many before were not."""


class CodecError(StreamflowError):
    code = "SF400"


class SchemaError(CodecError):
    code = "SF401"


class LogError(StreamflowError):
    code = "SF500"


class OffsetOutOfRange(LogError):
    code = "SF501"


class UnknownTopic(LogError):
    code = "SF502"


class TopicExists(LogError):
    code = "SF503"


class Fenced(LogError):
    code = "SF504"


class CommitUnknown(LogError):
    code = "SF505"


class LogFull(LogError):
    code = "SF506"


class LogCorrupt(LogError):
    code = "SF507"


class LogBusy(LogError):
    code = "SF508"


class LogUnavailable(LogError):
    code = "SF510"


class StateError(StreamflowError):
    code = "SF600"


class StateBroken(StateError):
    code = "SF601"


class StateBusy(StateError):
    code = "SF602"


class EntryTooLarge(StateError):
    code = "SF603"


class Stopped(StreamflowError):
    code = "SF301"
