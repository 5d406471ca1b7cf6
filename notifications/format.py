"""Text from outside, made safe for a message. Pure."""

from __future__ import annotations

import html


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


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
