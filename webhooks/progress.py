"""A progress bar for commands that take long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError

WIDTH = 30


class Progress:
    """Shows done/total, the rate and the place on one line of `stream`, which is a command's stderr.

    The place is the last id that is done: a run that was killed goes on after it.
    """

    def __init__(self, total: int, stream: Any) -> None:
        self.total = total
        self.stream = stream
        self.done = 0
        self.last = 0
        self._started = time.monotonic()

    def add(self, count: int, last: int) -> None:
        """Say that `count` more are done, up to the id `last`."""
        self.done += count
        self.last = last
        filled = min(WIDTH, WIDTH * self.done // max(self.total, 1))
        rate = self.done / max(time.monotonic() - self._started, 1e-6)
        bar = "█" * filled + "·" * (WIDTH - filled)
        self.stream.write(f"\r{bar} {self.done}/{self.total}  {rate:,.0f}/s  up to #{last}", ending="")
        self.stream.flush()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """End the line; on Ctrl-C say where to go on. Raises CommandError then."""
        try:
            yield
        except KeyboardInterrupt:
            raise CommandError(
                f"interrupted after {self.done} of {self.total}; what is done stays done. "
                + (f"Go on with the same command and --after {self.last}" if self.done else "Nothing was done yet")
            ) from None
        finally:
            if self.done:
                self.stream.write("")
