"""How values look to people, in messages and on dashboards. Pure."""

from __future__ import annotations

import html
from decimal import ROUND_HALF_UP, Decimal

THIN_SPACE = "\u2009"


def money(amount: Decimal | None) -> str:
    """Return whole tenge as "100 000 ₸" with thin spaces; "—" for an amount that is not known."""
    if amount is None:
        return "—"
    return f"{amount.quantize(Decimal(1), ROUND_HALF_UP):,}".replace(",", THIN_SPACE) + f"{THIN_SPACE}₸"


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
