"""Process stored deliveries again: after a mended parser, a new rule, a lost table."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from webhooks import inbox
from webhooks.models import Source, WebhookDelivery, WebhookLog
from webhooks.moments import read_moment
from webhooks.progress import Progress
from webhooks.reasons import WORKER_DIED, because
from webhooks.replay import replay, select_deliveries, untold


class Command(BaseCommand):
    """Choose by filters, say how many, process with a progress bar, sum up."""

    help = "Process stored deliveries again. Nothing changes where nothing changed; nobody is told by message."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the filters; at least one, or --all, must be given."""
        parser.add_argument("--id", type=int, nargs="+", metavar="ID", help="these deliveries")
        parser.add_argument("--status", nargs="+", choices=WebhookDelivery.Status.values, help="with these statuses")
        parser.add_argument("--source", nargs="+", choices=Source.values, help="that came through these doors")
        parser.add_argument("--lead", type=int, nargs="+", metavar="LEAD_ID", help="that tell of these deals")
        parser.add_argument("--since", help="received then or later: 2025-12-20 or 2025-12-20T13:22 (business time)")
        parser.add_argument("--until", help="received before then")
        parser.add_argument("--all", action="store_true", help="every stored delivery")
        parser.add_argument("--after", type=int, default=0, metavar="ID", help="go on after this delivery")
        parser.add_argument("--dry-run", action="store_true", help="say how many it would be, and stop")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replay what the filters choose."""
        filters = {
            "ids": options["id"],
            "status": options["status"],
            "source": options["source"],
            "lead": options["lead"],
            "since": _moment(options["since"]),
            "until": _moment(options["until"]),
        }
        if not any(filters.values()) and not options["all"]:
            raise CommandError(
                "Say which deliveries: --id, --status, --source, --lead, --since, --until, or --all for every one."
            )
        deliveries = select_deliveries(**filters).filter(pk__gt=options["after"])
        deadly = Q(status=WebhookDelivery.Status.DEAD, error_message=because(WORKER_DIED))
        if not options["id"] and (left_out := deliveries.filter(deadly).count()):
            deliveries = deliveries.exclude(deadly)
            self.stdout.write(f"{left_out} are left out, for they kill the process that reads them: name them by --id")
        if not options["id"] and WebhookDelivery.Status.FAILED not in (options["status"] or []):
            news = untold()
            if left_out := deliveries.filter(news).count():
                deliveries = deliveries.exclude(news)
                self.stdout.write(
                    f"{left_out} are left out, for they failed, or tell of a deal of which one failed: the worker "
                    "tries that again and tells people. Name them by --id or --status failed to tell nobody"
                )
        total = deliveries.count()
        self.stdout.write(f"{total} deliveries")
        if unreadable := deliveries.filter(body__isnull=True).count():
            self.stdout.write(f"{unreadable} of them cannot be replayed: their bodies were dropped (WEBHOOK_BODY_DAYS)")
        if options["dry_run"] or not total:
            return
        inbox.collect_less()
        started = time.monotonic()
        progress = Progress(total, self.stderr)
        with progress.interruptible():
            for count, last in replay(deliveries):
                progress.add(count, last)
        chosen = deliveries.order_by().values("pk")
        bad = deliveries.filter(status__in=["failed", "dead", "invalid"]).count()
        events = WebhookLog.objects.filter(delivery__in=chosen).count()
        self.stdout.write(
            f"replayed {progress.done} deliveries with {events} logged events in {time.monotonic() - started:.1f} s; "
            f"{bad} of them failed, dead or invalid"
        )


def _moment(text: str | None) -> datetime | None:
    """Return a moment in business time. Raises CommandError for what is no date."""
    try:
        return read_moment(text) if text else None
    except ValueError as error:
        raise CommandError(str(error)) from None
