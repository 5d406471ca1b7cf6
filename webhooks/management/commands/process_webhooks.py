"""Drain the queue once and exit: for cron, for a look by hand, for tests."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from webhooks import inbox


class Command(BaseCommand):
    """Process every delivery that is due, without a worker."""

    help = "Process every pending delivery that is due now, then exit."

    def handle(self, *args: Any, **options: Any) -> None:
        """Process batch after batch until none is due."""
        total = 0
        while count := inbox.process_due():
            total += count
        self.stdout.write(f"processed {total} deliveries")
