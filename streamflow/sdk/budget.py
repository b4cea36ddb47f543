"""What tasks of one process may hold together, as a task sees it."""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """A task that may have to wait for its part."""

    def granted(self, executions: int) -> None:
        """Its turn has come: it has the bytes it asked for, and so many executions, at least those it asked for."""
        ...


class Budget(Protocol):
    """Bytes and executions that are taken and not committed. Used on one event loop."""

    def ask(self, holder: Holder, size_bytes: int, *, executions: int, line_up: bool) -> bool:
        """Whether the holder has that much now.

        `line_up`: if not, it waits in the line until it is `granted` (perhaps within this call), or leaves. Only who
        holds nothing may, so that nobody waits for anybody who waits.
        """
        ...

    def change(self, size_bytes: int, executions: int = 0) -> None:
        """More or less is held, whatever the bounds say."""
        ...

    def leave(self, holder: Holder) -> None:
        """It does not wait any more."""
        ...

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits in the line."""
        ...

    def executions_for(self, has: int) -> int:
        """How many executions a task of the workflow may take that was given `has` of them and used none: of those and
        what is left its share by weight beside who waits in the line. At least one, where it was given some.
        """
        ...
