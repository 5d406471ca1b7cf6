"""The numbers that the dashboard, the exports, the API and the digest share. Pure: no database here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """Sales, their known revenue in tenge, how many lack an amount, and how many lack anything that people see."""

    sales: int = 0
    known: Decimal = Decimal(0)
    without_amount: int = 0
    lacking: int = 0  # the amount, or both campaign and source

    @property
    def revenue(self) -> Decimal | None:
        """The sum of the known amounts; None (shown "—") where there are sales and no amount is known."""
        return None if self.sales and self.sales == self.without_amount else self.known

    @property
    def average(self) -> Decimal | None:
        """Revenue by sale with a known amount, whole tenge; None where there is none."""
        priced = self.sales - self.without_amount
        return (self.known / priced).quantize(Decimal(1), ROUND_HALF_UP) if priced else None

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.sales + other.sales,
            self.known + other.known,
            self.without_amount + other.without_amount,
            self.lacking + other.lacking,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Sales beside what their ads cost in tenge; `spend` is None where nothing is entered at this level.

    The ratios of a total are those of its sums, never a mean of ratios.
    """

    totals: Totals
    spend: Decimal | None = None

    @property
    def cpa(self) -> Decimal | None:
        """Cost per sale, whole tenge; None without spend or without sales."""
        if self.spend is None or not self.totals.sales:
            return None
        return (self.spend / self.totals.sales).quantize(Decimal(1), ROUND_HALF_UP)

    @property
    def roas(self) -> Decimal | None:
        """Revenue by tenge spent, two decimals; None without spend or with an unknown revenue."""
        if not self.spend or self.totals.revenue is None:
            return None
        return (self.totals.revenue / self.spend).quantize(Decimal("0.01"), ROUND_HALF_UP)

    @property
    def profit(self) -> Decimal | None:
        """Revenue less spend; None where either is unknown."""
        if self.spend is None or self.totals.revenue is None:
            return None
        return self.totals.revenue - self.spend


def share(part: Decimal | None, whole: Decimal | None) -> Decimal | None:
    """Return a part in percent of the whole, one decimal; None where either is unknown or there is no whole."""
    if part is None or not whole:
        return None
    return (part * 100 / whole).quantize(Decimal("0.1"), ROUND_HALF_UP)
