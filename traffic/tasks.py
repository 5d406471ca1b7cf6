"""What traffic's clock does. Each tick looks for what is due, so a missed tick costs nothing."""

from __future__ import annotations

from procrastinate.contrib.django import app

from traffic.day_totals import build_days


@app.periodic(cron="*/5 * * * *")
@app.task
def build_day_totals(timestamp: int) -> None:
    """Sum the days whose sales changed; until then the dashboard adds them up from the sales."""
    build_days()
