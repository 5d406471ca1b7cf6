"""A progress bar for commands that take long."""

from __future__ import annotations

import time
from typing import Any

WIDTH = 30


class Progress:
    """Shows done/total and the rate on one line of `stream`, which is a command's stderr."""

    def __init__(self, total: int, stream: Any) -> None:
        self.total = total
        self.stream = stream
        self.done = 0
        self._started = time.monotonic()

    def add(self, count: int) -> None:
        """Say that `count` more are done."""
        self.done += count
        filled = min(WIDTH, WIDTH * self.done // max(self.total, 1))
        rate = self.done / max(time.monotonic() - self._started, 1e-6)
        bar = "█" * filled + "·" * (WIDTH - filled)
        self.stream.write(f"\r{bar} {self.done}/{self.total}  {rate:,.0f}/s", ending="")
        self.stream.flush()

    def end(self) -> None:
        """End the line."""
        if self.done:
            self.stream.write("")
