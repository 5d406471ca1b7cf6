"""What arrives while the last group is being worked on makes up the next one: leader and followers among threads.

A group waits a little until it is as large as the one before. Where many come one after another it so finds its size
by itself; where one comes now and then, it waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# What a group costs beside its items (a commit, above all) is worth waiting so long for more of them.
PATIENCE_SECONDS = 0.004


class _Ticket(Generic[Item, Result]):
    """One thread's item on its way."""

    __slots__ = ("error", "is_done", "item", "result", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.is_done = False
        self.turn = threading.Lock()  # released when the item is done, or when this thread is to lead
        self.turn.acquire()


class Together(Generic[Item, Result]):
    """Calls `work` with the items of several threads at once: in one thread at a time, with `most` items at most.

    `work` returns a result for each item, in their order. What it raises, all of the group raise, and those who wait as
    well: nobody waits for one failure after another.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._lock = threading.Lock()
        self._has_grown = threading.Condition(self._lock)
        self._waiting: list[_Ticket[Item, Result]] = []
        self._size = 1  # of the last group
        self._is_led = False

    def do(self, item: Item) -> Result:
        """Return the item's result, whoever led its group."""
        ticket: _Ticket[Item, Result] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            if len(self._waiting) == self._size:
                self._has_grown.notify()
            follows = self._is_led
            self._is_led = True
        if follows:
            ticket.turn.acquire()
        leads = not ticket.is_done
        if leads:
            self._lead()
        if ticket.error is not None:
            if leads:
                raise ticket.error
            raise _another(ticket.error) from ticket.error
        return ticket.result  # type: ignore[return-value]

    def _lead(self) -> None:
        """Work on those who wait, this thread first among them; then let the next thread lead."""
        with self._lock:
            self._has_grown.wait_for(lambda: len(self._waiting) >= self._size, PATIENCE_SECONDS)
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._size = len(group)
        try:
            for ticket, result in zip(group, self._work([ticket.item for ticket in group]), strict=True):
                ticket.result = result
        except BaseException as error:  # whatever it is, nobody may be left waiting
            with self._lock:
                group += self._waiting
                self._waiting = []
            for ticket in group:
                ticket.error = error
        with self._lock:
            following = self._waiting[:1]
            self._is_led = bool(following)
        for ticket in group:
            ticket.is_done = True
            ticket.turn.release()
        for ticket in following:
            ticket.turn.release()


def _another(error: BaseException) -> Exception:
    """Return an exception like this one, for another thread to raise; what ends one thread ends no other."""
    if isinstance(error, Exception):
        with suppress(TypeError):
            return type(error)(*error.args)
    return RuntimeError(repr(error))
