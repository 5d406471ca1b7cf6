"""What traffic's clock does. Cron is UTC and drops late ticks, so each tick looks for what is due in Almaty."""

from __future__ import annotations

from procrastinate.contrib.django import app

from traffic import digest
from traffic.day_totals import build_days


@app.periodic(cron="* * * * *")
@app.task
def send_due_digests(timestamp: int) -> None:
    """Put the digests that are due into the outbox."""
    digest.write_due_digests()


@app.periodic(cron="*/5 * * * *")
@app.task
def build_day_totals(timestamp: int) -> None:
    """Sum the days whose sales changed; until then the dashboard adds them up from the sales."""
    build_days()
