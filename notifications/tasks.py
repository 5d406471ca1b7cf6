"""What the notifications' clock does."""

from __future__ import annotations

from procrastinate.contrib.django import app

from notifications import alarms


@app.periodic(cron="* * * * *")
@app.task
def check_alarms(timestamp: int) -> None:
    """Run the checks and tell of what started and ended."""
    alarms.look_and_tell()
