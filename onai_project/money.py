"""How sums look to people, in messages and on dashboards. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

THIN_SPACE = "\u2009"


def money(amount: Decimal | None) -> str:
    """Return whole tenge as "100 000 ₸" with thin spaces; "—" for an amount that is not known."""
    if amount is None:
        return "—"
    return f"{amount.quantize(Decimal(1), ROUND_HALF_UP):,}".replace(",", THIN_SPACE) + f"{THIN_SPACE}₸"
