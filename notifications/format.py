"""Text from outside, made safe for a message. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence

# Telegram's limit for one message, in UTF-16 units. It counts no tags; we do, and so stay below.
ROOM = 4096


def quoted(text: str, room: int = 600) -> str:
    """Return text from outside on one line, safe in Telegram HTML, in at most `room` UTF-16 units (as Telegram counts).

    A longer one is cut between characters, never inside an entity, and ends in "…".
    """
    text = " ".join(text.split())
    if _units(html.escape(text)) <= room:
        return html.escape(text)
    kept: list[str] = []
    left = room - 1
    for character in text:
        escaped = html.escape(character)
        left -= _units(escaped)
        if left < 0:
            break
        kept.append(escaped)
    return "".join(kept).rstrip() + "…"


def link(address: str, title: str) -> str:
    """Return a link, as Telegram HTML."""
    return f'<a href="{html.escape(address)}">{quoted(title)}</a>'


def fitting(heading: str, parts: Sequence[str], separator: str, room: int = ROOM) -> int:
    """Return how many of `parts`, from the first on, fit into one message under `heading`; one at least."""
    left = room - _units(heading) - 2
    for count, part in enumerate(parts):
        left -= _units(part) + (_units(separator) if count else 0)
        if left < 0:
            return max(count, 1)
    return len(parts)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
