"""How a number stands beside the same number of the period before. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True)
class Change:
    """A number now and before; None is unknown."""

    now: Decimal | int | None
    before: Decimal | int | None

    @property
    def percent(self) -> Decimal | None:
        """Whole percent of growth; None where either is unknown or there was nothing to grow from."""
        if self.now is None or not self.before:
            return None
        growth = (Decimal(self.now) - Decimal(self.before)) * 100 / abs(Decimal(self.before))
        return growth.quantize(Decimal(1), ROUND_HALF_UP)

    @property
    def direction(self) -> str:
        """up, down or same; "" where there is nothing to compare."""
        if self.now is None or self.before is None:
            return ""
        return "up" if self.now > self.before else "down" if self.now < self.before else "same"


def signed(percent: Decimal | None) -> str:
    """Return whole percent as "+12 %", "−5 %" or "0 %"; "—" for an unknown one."""
    if percent is None:
        return "—"
    sign = "+" if percent > 0 else "−" if percent < 0 else ""
    return f"{sign}{abs(percent):,}\u202f%".replace(",", "\u2009")
