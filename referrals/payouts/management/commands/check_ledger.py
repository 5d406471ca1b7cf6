"""Check that the ledger, the payouts and the deals agree; for a person, or for a monitor that reads the exit status."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from referrals.payouts.checks import findings_of, ledger_check


class Command(BaseCommand):
    """Run every check of the ledger and keep the result, as the worker does once a day."""

    help = "Check the ledger and the payouts; every number should be 0. Ends with 1 when one is not."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each check. Raises CommandError when something is wrong."""
        check = ledger_check()
        for finding in findings_of(check):
            self.stdout.write(f"{finding.count:6} {finding.title}")
            for example in finding.examples:
                self.stdout.write(f"         {example}")
            if finding.count:
                self.stdout.write(f"       → {finding.remedy}")
        self.stdout.write(f"({check.seconds:.1f} s)")
        if check.wrong:
            raise CommandError(f"{check.wrong} rows are wrong")
