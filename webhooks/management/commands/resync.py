"""Make one app's tables agree with the deals again, all of them."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks import signals
from webhooks.models import Deal
from webhooks.progress import Progress
from webhooks.replay import resync
from webhooks.signals import Failures


class Command(BaseCommand):
    """Tell an app's receivers the state of every deal. Works after bodies were dropped; sends no message."""

    help = "Make one app's tables agree with every deal's state. Safe to interrupt and to run again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the app: any that follows the deals."""
        parser.add_argument("app", choices=signals.apps())
        parser.add_argument("--after", type=int, default=0, metavar="LEAD_ID", help="go on after this deal")

    def handle(self, *args: Any, **options: Any) -> None:
        """Resync. Raises CommandError, at the end, when deals failed."""
        total = Deal.objects.filter(pk__gt=options["after"]).count()
        self.stdout.write(f"{total} deals")
        started = time.monotonic()
        progress = Progress(total, self.stderr)
        failed: Failures = {}
        with progress.interruptible():
            for count, last, failures in resync(options["app"], after=options["after"]):
                progress.add(count, last)
                failed |= failures
        self.stdout.write(f"told {options['app']} of {progress.done} deals in {time.monotonic() - started:.1f} s")
        if failed:
            first = "\n".join(f"  {lead_id}: {'; '.join(errors)}" for lead_id, errors in sorted(failed.items())[:10])
            raise CommandError(f"{len(failed)} deals failed and were left as they are:\n{first}")
