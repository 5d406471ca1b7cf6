"""The by-day chart of the dashboards: what unfold's Chart.js canvas takes, as JSON strings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.utils import translation

GREY = "#9ca3af"  # legible on white and on black, as unfold's own ticks


@dataclass(frozen=True, slots=True)
class Chart:
    """The canvas' data-value and data-options."""

    value: str
    options: str


def money_chart(
    days: Iterable[tuple[date, Decimal, int]],
    *,
    money: str,
    count: str,
    before: Sequence[Decimal] = (),
    before_name: str = "",
) -> Chart:
    """Return bars of money (left axis) and a line of counts (right axis) by day; `money` and `count` name them.

    `before` is the money of the days to compare with, the first beside the first: pale bars called `before_name`. If
    they are more, the last have no day beside them.
    """
    rows = list(days)
    alone = len(before) - len(rows)
    value: dict[str, Any] = {
        "labels": [f"{day:%d.%m}" for day, _, _ in rows] + ["—"] * alone,
        "datasets": [
            {
                "label": money,
                "data": [int(amount) for _, amount, _ in rows],
                "backgroundColor": "var(--color-primary-500)",
                "order": 2,
            },
            {
                "label": count,
                "type": "line",
                "data": [number for _, _, number in rows],
                "borderColor": "#f59e0b",
                "backgroundColor": "#f59e0b",
                "borderWidth": 2,
                "pointRadius": 3 if len(rows) <= 31 else 0,
                "yAxisID": "count",
                "order": 1,
            },
        ],
    }
    if before:
        value["datasets"].insert(
            1,
            {
                "label": before_name,
                "data": [int(amount) for amount in before],
                "backgroundColor": "#9ca3af66",
                "order": 3,
            },
        )
    axis = {"beginAtZero": True, "border": {"display": False}}
    options = {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "locale": translation.get_language(),
        "maxBarThickness": 32,
        "borderRadius": 4,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"position": "bottom", "labels": {"color": GREY, "boxWidth": 10, "boxHeight": 10}}},
        "scales": {
            "x": {"grid": {"display": False}, "ticks": {"color": GREY, "maxRotation": 0, "autoSkipPadding": 12}},
            "y": {**axis, "ticks": {"color": GREY, "precision": 0, "maxTicksLimit": 6}},
            "count": {
                **axis,
                "position": "right",
                "grid": {"display": False},
                "ticks": {"color": GREY, "precision": 0, "maxTicksLimit": 6},
            },
        },
    }
    return Chart(json.dumps(value), json.dumps(options))
