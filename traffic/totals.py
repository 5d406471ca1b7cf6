"""Sums of sales in a period, the way the dashboard counts them."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import Count, QuerySet, Sum

from onai_project.periods import Period
from traffic.figures import Totals
from traffic.models import Sale


def sum_sales(sales: QuerySet[Sale], period: Period) -> Totals:
    """Return how many of these sales fall into a period, what they sum up to, and how many lack an amount."""
    row = sales.filter(sale_date__gte=period.start, sale_date__lt=period.end).aggregate(
        sales=Count("pk"), priced=Count("sale_amount"), known=Sum("sale_amount")
    )
    return Totals(row["sales"], row["known"] or Decimal(0), row["sales"] - row["priced"])
