"""Print a digest, or send it now to the chats that get it."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifications.telegram import plain
from onai_project.periods import today
from traffic.digest import digest_text, latest_date, write_digest
from traffic.models import DigestKind, DigestSchedule


class Command(BaseCommand):
    """`send_digest daily|weekly [--date DAY] [--dry-run]`."""

    help = "Puts a digest into the outbox of every chat that gets such digests and has not got this one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what it is about."""
        parser.add_argument("kind", choices=DigestKind.values, nargs="?", default=DigestKind.DAILY)
        parser.add_argument("--date", type=date.fromisoformat, help="a day of the period; otherwise the last one over")
        parser.add_argument("--dry-run", action="store_true", help="print it and send nothing")

    def handle(self, *, kind: str, dry_run: bool, **options: Any) -> None:
        """Print the digest; without --dry-run also send it."""
        day = options["date"] or latest_date(kind, today())
        if kind == DigestKind.WEEKLY:
            day = date.fromordinal(day.toordinal() - day.weekday())
        if day > today():
            raise CommandError(f"{day} has not begun yet.")
        if day > latest_date(kind, today()) and not dry_run:
            raise CommandError(f"{day} is not over yet: see with --dry-run how it stands.")
        self.stdout.write(plain(digest_text(kind=kind, date=day)))
        if dry_run:
            return
        schedules = DigestSchedule.objects.filter(kind=kind, active=True).select_related("chat")
        if not schedules:
            raise CommandError("No chat gets such digests: enter one in the admin (Digest schedules).")
        for schedule in schedules:
            new = write_digest(kind=kind, date=day, chat=schedule.chat)
            self.stdout.write(f"{schedule.chat or 'the common chat'}: {'will be sent' if new else 'has it already'}")
