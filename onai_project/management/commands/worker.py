"""manage.py worker: everything that happens behind the web server."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from onai_project import worker


class Command(BaseCommand):
    """Start the worker; SIGTERM or Ctrl-C ends it within seconds. Any number may run, on any number of machines."""

    help = "Processes deliveries, sends messages, runs jobs, until SIGTERM."
    # Starts while the database is away, too.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        worker.run()
