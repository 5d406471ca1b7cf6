"""Attribute old sales by the rules of today, after showing what would move; or undo that."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from onai_project.money import money
from onai_project.periods import Period, parse_day, today
from traffic.models import ReattributionRun
from traffic.reattribution.plan import Plan, owner_names, plan_reattribution
from traffic.reattribution.runs import State, carry_on, go_on, start_run, start_undo
from traffic.rules.book import current_rulebook
from webhooks.progress import Progress


class Command(BaseCommand):
    """Show who would lose how much to whom; once confirmed, do it, with progress. Sends no message."""

    help = (
        "Attribute the sales of a period by the rules of today. Shows first what would move and asks. "
        "Closed months (TRAFFIC_CLOSED_UNTIL) and what people decided by hand stay as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the period, or the run to undo or to carry on."""
        parser.add_argument("--since", metavar="DATE", help="the first day, such as 2025-12-01")
        parser.add_argument("--until", metavar="DATE", help="the last day, included; today if left out")
        parser.add_argument("--reason", default="", help="kept with the run")
        parser.add_argument("--author", default="", metavar="USERNAME", help="who is kept as its author")
        parser.add_argument("--dry-run", action="store_true", help="only show what would move")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--undo", type=int, metavar="RUN", help="undo this run")
        parser.add_argument("--go-on", type=int, metavar="RUN", help="carry on a run, or an undoing, that was stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do one of the three. Raises CommandError for what cannot be done."""
        author = self._author(options["author"])
        if options["go_on"] is not None:
            run = self._run(options["go_on"])
            go_on(run=run)
            self._carry_on(run)
        elif options["undo"] is not None:
            run = self._run(options["undo"])
            if not start_undo(run=run, author=author):
                raise CommandError(f"run {run.pk} is {run.state}: only one that is done can be undone")
            self._carry_on(run)
        else:
            self._reattribute(self._period(options), author, options)

    def _reattribute(self, period: Period, author: User | None, options: dict[str, Any]) -> None:
        book = current_rulebook()
        plan = plan_reattribution(period, book)
        self._show(plan)
        if options["dry_run"] or not plan.changes:
            return
        if not options["yes"] and input("Do it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was changed")
        self._carry_on(start_run(period=period, book=book, author=author, reason=options["reason"]))

    def _carry_on(self, run: ReattributionRun) -> None:
        run.refresh_from_db()
        started = time.monotonic()
        progress = Progress(run.total, self.stderr)
        progress.done = run.looked_at
        try:
            for count, last in carry_on(run.pk):
                progress.add(count, last)
        except KeyboardInterrupt:
            raise CommandError(f"stopped; what is done stays done. Go on with --go-on {run.pk}") from None
        finally:
            self.stderr.write("")
        run.refresh_from_db()
        seconds = time.monotonic() - started
        if run.state == State.UNDONE:
            left = run.moves.filter(undone=False).count()
            self.stdout.write(f"run {run.pk} is undone in {seconds:.1f} s; {left} sales were changed since and stay")
        else:
            self.stdout.write(
                f"run {run.pk}: {run.moved} of {run.looked_at} sales changed in {seconds:.1f} s. "
                f"Undo it with --undo {run.pk}"
            )

    def _show(self, plan: Plan) -> None:
        names = owner_names()
        self.stdout.write(f"{plan.period.first} – {plan.period.last}: {plan.looked_at} sales looked at")
        for move in plan.moves:
            totals = move.totals
            lacking = f", {totals.without_amount} without an amount" if totals.without_amount else ""
            self.stdout.write(
                f"  {names.get(move.before, move.before)} → {names.get(move.after, move.after)}: "
                f"{totals.sales} sales, {money(totals.revenue)}{lacking}"
            )
        for count, what in (
            (plan.taken_back, "sales taken back move too"),
            (plan.why_only, "stay with their owner, by another rule or funnel"),
            (plan.by_hand, "decided by hand, left alone"),
            (plan.closed, "in closed months, left alone"),
        ):
            if count:
                self.stdout.write(f"  {count} {what}")
        if not plan.changes:
            self.stdout.write("  nothing would change")

    def _period(self, options: dict[str, Any]) -> Period:
        if not options["since"]:
            raise CommandError("say from which day: --since 2025-12-01")
        first = self._day(options["since"])
        last = self._day(options["until"]) if options["until"] else today()
        if first > last:
            raise CommandError("--until is before --since")
        return Period(first, last)

    def _day(self, text: str) -> date:
        try:
            day = parse_day(text)
        except ValidationError:
            day = None
        if day is None:
            raise CommandError(f"{text!r} is not a date: write it as 2025-12-01")
        return day

    def _run(self, run_id: int) -> ReattributionRun:
        try:
            return ReattributionRun.objects.get(pk=run_id)
        except ReattributionRun.DoesNotExist:
            raise CommandError(f"there is no run {run_id}") from None

    def _author(self, username: str) -> User | None:
        if not username:
            return None
        try:
            return User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(f"there is no user {username!r}") from None
