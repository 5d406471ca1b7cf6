"""How fast the bot may write. There is one sender in the system: memory is enough. Pure."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta

# How far back the limits look.
WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Telegram's, from its FAQ for bots: 1 message a second in a chat, 20 a minute in a group, 30 a second in all."""

    chat_seconds: float = 1.0
    group_per_minute: int = 20
    total_per_second: int = 25


@dataclass(slots=True)
class Pacer:
    """Remembers the last minute of sending, by Telegram's chat id: the topics of a group share its limit."""

    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic
    _sent: defaultdict[int, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _held_until: float = float("-inf")

    def record(self, chat_id: int, *, ago: timedelta = timedelta()) -> None:
        """Note a request to this chat, now or a while ago; the older ones first."""
        self._sent[chat_id].append(self.clock() - ago.total_seconds())

    def hold(self, seconds: float) -> None:
        """Let nothing go anywhere for so long."""
        self._held_until = self.clock() + seconds

    def closed(self) -> bool:
        """Tell whether no chat at all may be written to now."""
        now = self.clock()
        self._forget(now)
        last_second = sum(1 for times in self._sent.values() for at in times if now - at < 1)
        return now < self._held_until or last_second >= self.limits.total_per_second

    def busy(self) -> Collection[int]:
        """Return the ids of the chats that may not be written to now."""
        now = self.clock()
        self._forget(now)
        return [
            chat_id
            for chat_id, times in self._sent.items()
            if now - times[-1] < self.limits.chat_seconds
            or (chat_id < 0 and len(times) >= self.limits.group_per_minute)  # groups have negative ids
        ]

    def _forget(self, now: float) -> None:
        for chat_id, times in list(self._sent.items()):
            while times and now - times[0] >= WINDOW.total_seconds():
                times.popleft()
            if not times:
                del self._sent[chat_id]
