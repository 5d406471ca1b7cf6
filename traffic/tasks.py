"""What traffic's clock does. Cron is UTC and drops late ticks, so each tick asks what is due in Almaty."""

from __future__ import annotations

from procrastinate.contrib.django import app

from traffic import digest


@app.periodic(cron="* * * * *")
@app.task
def send_due_digests(timestamp: int) -> None:
    """Put the digests that are due into the outbox."""
    digest.write_due_digests()
