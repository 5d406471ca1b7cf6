"""Say what is wrong with the system; for a person, or for a monitor that looks at the exit status."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifications import alarms


class Command(BaseCommand):
    """Run every check, print a line for each."""

    help = "Run the checks of the page System state; ends with 1 when something is wrong. Tells nobody by message."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings. Raises CommandError when there is a problem."""
        findings = alarms.look()
        for finding in findings:
            mark, text = ("WRONG", f": {finding.problem}") if finding.problem else ("ok   ", "")
            self.stdout.write(f"{mark} {finding.check.title}{text}")
        if wrong := sum(bool(finding.problem) for finding in findings):
            raise CommandError(f"{wrong} of {len(findings)} checks found something wrong")
