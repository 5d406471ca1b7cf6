"""The by-month chart and the bar of the balance, as numbers for an SVG: no script draws them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from referrals.cabinet.selectors import Balance, Month

# Units of the drawing: one column of the chart, its bar, the room for bars.
COLUMN = 50
BAR = 30
HEIGHT = 120
BAR_WIDTH = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """One month's bar; `y` and `height` in the drawing's units."""

    first: date
    earned: Decimal
    conversions: int
    x: int
    y: int
    height: int

    @property
    def middle(self) -> int:
        """Where the label stands."""
        return self.x + BAR // 2


def columns(months: Sequence[Month]) -> list[Column]:
    """Return a bar for each month; the tallest fills the height, a month of nothing or less has none."""
    top = max((month.earned for month in months), default=Decimal(0))
    bars = []
    for number, month in enumerate(months):
        height = int(month.earned * HEIGHT / top) if top > 0 and month.earned > 0 else 0
        height = max(height, 3) if month.earned > 0 else 0
        x = number * COLUMN + (COLUMN - BAR) // 2
        bars.append(Column(month.first, month.earned, month.conversions, x, HEIGHT - height, height))
    return bars


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the balance's bar."""

    name: str
    x: int
    width: int


def segments(balance: Balance) -> list[Segment]:
    """Return the parts of the balance side by side; parts of nothing or less are left out."""
    parts = [
        (name, amount)
        for name in ("paid", "in_payout", "failed", "available", "waiting", "hold")
        if (amount := getattr(balance, name)) > 0
    ]
    total = sum((amount for _, amount in parts), Decimal(0))
    bar, x = [], 0
    for number, (name, amount) in enumerate(parts):
        width = BAR_WIDTH - x if number == len(parts) - 1 else int(amount * BAR_WIDTH / total)
        bar.append(Segment(name, x, width))
        x += width
    return bar
