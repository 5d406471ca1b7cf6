"""The plan that holds until the manager enters another: for the first migration and for tests."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any


def seed(plans: Any) -> None:
    """Create the 10 % plan where there is no plan at all; the argument is the model class."""
    if not plans.objects.exists():
        plans.objects.create(name="10 %", kind="percent", value=Decimal(10), valid_from=date(2020, 1, 1))
