"""Compare the deals of some time with AmoCRM, and put into the inbox what is missing or different."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import get_current_timezone

from webhooks import reconciliation
from webhooks.amocrm import api
from webhooks.comparison import Verdict
from webhooks.moments import read_moment

# A block of an hour is waited out; what is done stays done anyway.
PATIENCE = 3600
DAYS = 3


class Command(BaseCommand):
    """Go slice by slice, a line for each, and for each deal that was missing or different."""

    help = (
        "Compare won deals with AmoCRM's record and correct what differs. Safe to interrupt, to repeat, and beside "
        "another one: the same command goes on where it was. Old sales make no message."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the time."""
        parser.add_argument("--since", help=f"2025-12-20 or 2025-12-20T13:22, business time (default: {DAYS} days ago)")
        parser.add_argument("--until", help="the same (default: now)")
        parser.add_argument("--dry-run", action="store_true", help="say what is missing or different, and stop")

    def handle(self, *args: Any, **options: Any) -> None:
        """Reconcile. Raises CommandError where AmoCRM cannot be asked, or does not answer for too long."""
        if not api.configured():
            raise CommandError("Set AMOCRM_ACCESS_TOKEN (README, Settings): without it AmoCRM cannot be asked.")
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        since = _moment(options["since"]) or now - timedelta(days=DAYS)
        until = min(_moment(options["until"]) or now, now)
        if until <= since:
            raise CommandError("--until must be later than --since")
        deals = entered = missed = 0
        verb = "to correct" if options["dry_run"] else "corrected"
        try:
            for found in _slices(since, until, dry_run=options["dry_run"]):
                for verdict in found.verdicts:
                    self.stdout.write("\n".join(_lines(verdict)))
                deals, entered, missed = deals + found.deals, entered + found.entered, missed + found.missed
                self.stdout.write(
                    f"{_shown(found.since)} … {_shown(found.until)}: {found.deals} deals, "
                    f"{found.entered} {verb}, {found.missed} hooks missed"
                )
        except api.ApiError as error:
            raise CommandError(f"AmoCRM: {error}. What is done stays done; the same command goes on.") from error
        except KeyboardInterrupt:
            raise CommandError("interrupted; what is done stays done. The same --since and --until go on.") from None
        self.stdout.write(f"{deals} deals compared, {entered} {verb}, {missed} hooks missed")


def _slices(since: datetime, until: datetime, *, dry_run: bool) -> Iterator[reconciliation.Slice]:
    with api.Api(patience=PATIENCE) as amocrm:
        if dry_run:
            pipelines = reconciliation.select_pipelines(amocrm)
            for start, end in reconciliation.slices(since, until):
                found = reconciliation.look(amocrm, pipelines, start, end)
                found.missed = sum(len(verdict.missed) for verdict in found.verdicts)
                yield found
            return
        yield from reconciliation.reconcile(amocrm, reconciliation.start_run(since=since, until=until))


def _lines(verdict: Verdict) -> Iterator[str]:
    for change in verdict.missed:
        when = _shown(datetime.fromtimestamp(change.at, UTC))
        yield f"  deal {verdict.lead_id}: no hook of {change.kind}, {when}"
    if verdict.is_gone:
        yield f"  deal {verdict.lead_id}: AmoCRM does not have it"
    elif verdict.differs == ("lead_id",):
        yield f"  deal {verdict.lead_id}: not known here"
    elif verdict.differs:
        yield f"  deal {verdict.lead_id}: other {', '.join(verdict.differs)}"


def _shown(moment: datetime) -> str:
    return moment.astimezone(get_current_timezone()).strftime("%Y-%m-%d %H:%M:%S")


def _moment(text: str | None) -> datetime | None:
    """Return a moment in business time. Raises CommandError for what is no date."""
    try:
        return read_moment(text) if text else None
    except ValueError as error:
        raise CommandError(str(error)) from None
