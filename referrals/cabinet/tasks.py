"""Housekeeping of the cabinet."""

from __future__ import annotations

from procrastinate.contrib.django import app

from referrals.cabinet import access


@app.periodic(cron="*/10 * * * *")
@app.task
def delete_expired_access(timestamp: int) -> None:
    """Delete what no longer lets anybody in."""
    access.delete_expired()
