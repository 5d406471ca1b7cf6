"""A progress bar for commands that take long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError

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
        """End the line; say where to go on, on Ctrl-C or when the database or a second process is gone.

        Raises CommandError then.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise self._interrupted("interrupted") from None
        except BrokenProcessPool as error:
            raise self._interrupted("the second process was killed, out of memory perhaps: ended") from error
        except (OperationalError, InterfaceError) as error:
            raise self._interrupted(f"the database failed ({str(error).strip()}): ended") from error
        finally:
            if self.done:
                self.stream.write("")

    def _interrupted(self, what: str) -> CommandError:
        return CommandError(
            f"{what} after {self.done} of {self.total}; what is done stays done. "
            + (f"Go on with the same command and --after {self.last}" if self.done else "Nothing was done yet")
        )
