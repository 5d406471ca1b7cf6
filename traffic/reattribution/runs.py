"""Re-attributions: old sales under the rules of today, a batch a transaction, written down so that each can be undone.

A run keeps the version of the rules that was previewed and how far it came. Whoever carries it on takes its row first,
so two at once take turns, and one that died is simply carried on by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from onai_project.periods import Period
from traffic.attribution import Rulebook
from traffic.decisions import (
    Decider,
    Decision,
    Outcome,
    keep_decisions,
    lock_sales,
    overridden,
    select_decisions,
    select_overrides,
    write_outcomes,
)
from traffic.models import AttributionRule, ReattributionMove, ReattributionRun, RuleVersion, Sale, Targetologist
from traffic.reattribution.plan import candidates, open_sales
from traffic.rules.book import rulebook_of
from webhooks import bulk
from webhooks.transient import in_transaction

State = ReattributionRun.State
# What the worker has to do something about.
GOING_ON = (State.WAITING, State.RUNNING, State.UNDOING)

# What a person may carry on, and to what it goes back.
STOPPED = {State.FAILED: State.RUNNING, State.UNDO_FAILED: State.UNDOING}
# The worker tries a batch that fails so often, a minute apart; then somebody has to mend the cause.
MOST_FAILURES = 3

# A batch's locks are held for well under a second: the inbox hardly notices.
BATCH = 2000
_MOVE_FIELDS = ("run", "lead_id", "sale_amount", "won", "before", "after")
_MARK = """
UPDATE reattribution_moves SET undone = lead_id = ANY(%s::bigint[])
WHERE run_id = %s AND lead_id = ANY(%s::bigint[])
"""


def start_run(*, period: Period, book: Rulebook, author: User | None, reason: str) -> ReattributionRun:
    """Write down that the sales of a period are to be attributed by these rules; `carry_on` does it."""
    return ReattributionRun.objects.create(
        first_day=period.first,
        last_day=period.last,
        version=RuleVersion.objects.get(pk=book.version or 0),
        author=author,
        reason=reason.strip(),
        total=candidates(period).count(),
    )


def start_undo(*, run: ReattributionRun, author: User | None) -> bool:
    """Write down that a run is to be undone; False when it is not done, or undone already."""
    return bool(
        ReattributionRun.objects.filter(pk=run.pk, state__in=(State.DONE, State.FAILED)).update(
            state=State.UNDOING, undone_by=author, last_lead_id=0, looked_at=0, total=F("moved"), active_at=Now(),
            failures=0, error="",
        )
    )  # fmt: skip


def go_on(*, run: ReattributionRun) -> None:
    """Let a run that failed be carried on where it stopped; what goes on anyway is left."""
    for failed, before in STOPPED.items():
        ReattributionRun.objects.filter(pk=run.pk, state=failed).update(state=before, failures=0, active_at=Now())


def note_failure(run_id: int, error: Exception) -> None:
    """Write down that a batch of a run failed, and why; after MOST_FAILURES one after the other the run has failed."""
    text = f"{type(error).__name__}: {error}"[:500]
    ReattributionRun.objects.filter(pk=run_id).update(failures=F("failures") + 1, error=text)
    for failed, before in STOPPED.items():
        from_ = (State.WAITING, before) if before == State.RUNNING else (before,)
        ReattributionRun.objects.filter(pk=run_id, state__in=from_, failures__gte=MOST_FAILURES).update(
            state=failed, ended_at=Now(), active_at=Now()
        )


def carry_on(run_id: int) -> Iterator[tuple[int, int]]:
    """Do what is left of a run, or of undoing it; yield (sales looked at, the last one's deal) after each batch.

    It may be stopped at any time and carried on later, by anybody.
    """
    decider = Decider(rulebook_of(ReattributionRun.objects.select_related("version").get(pk=run_id).version))
    while (done := in_transaction(lambda: _step(run_id, decider))) is not None:
        yield done


def run_period(run: ReattributionRun) -> Period:
    """Return the days whose sales a run looks at."""
    return Period(run.first_day, run.last_day)


def _step(run_id: int, decider: Decider) -> tuple[int, int] | None:
    """Do one batch; None when nothing is left."""
    run = ReattributionRun.objects.select_for_update().get(pk=run_id)
    if run.state not in GOING_ON:
        return None
    undoing = run.state == State.UNDOING
    rows: Any = run.moves.filter(undone=None) if undoing else candidates(run_period(run))
    lead_ids = list(
        rows.filter(lead_id__gt=run.last_lead_id).order_by("lead_id").values_list("lead_id", flat=True)[:BATCH]
    )
    if not lead_ids:
        run.state = State.UNDONE if undoing else State.DONE
        run.ended_at = run.active_at = Now()
        run.failures, run.error = 0, ""
        run.save(update_fields=["state", "ended_at", "active_at", "failures", "error"])
        return None
    moved = _undo(run, lead_ids) if undoing else _reattribute(run, lead_ids, decider)
    run.state = State.UNDOING if undoing else State.RUNNING
    run.last_lead_id = lead_ids[-1]
    run.looked_at = min(run.looked_at + len(lead_ids), 2**31 - 1)
    run.moved += moved
    run.active_at = Now()
    run.failures, run.error = 0, ""
    run.save(update_fields=["state", "last_lead_id", "looked_at", "moved", "active_at", "failures", "error"])
    return len(lead_ids), lead_ids[-1]


def _reattribute(run: ReattributionRun, lead_ids: Sequence[int], decider: Decider) -> int:
    """Attribute these sales by the run's rules; return how many changed."""
    utms = lock_sales(lead_ids)
    # Looked at again under the lock: a sale may have got another date, or a person's word, meanwhile.
    sales: dict[int, tuple[Any, ...]] = {
        row[0]: row[1:]
        for row in candidates(run_period(run))
        .filter(lead_id__in=utms)
        .values_list(
            "lead_id", "sale_amount", "state", "channel", "targetologist_id", "matched_rule_id", "matched_field",
            "matched_text", "funnel_type",
        )
    }  # fmt: skip
    decisions = select_decisions(list(sales))
    rules = set(AttributionRule.objects.values_list("pk", flat=True))
    new: dict[int, Decision] = {}
    moves = []
    for lead_id, (amount, state, *shown) in sorted(sales.items()):
        old = decisions.get(lead_id)
        before = old.outcome if old and old.utm == utms[lead_id] else Outcome(*shown)
        after = _existing(decider.decide(utms[lead_id])._replace(run=run.pk), rules)
        if before.shown == after.shown:
            continue
        new[lead_id] = Decision(utms[lead_id], after)
        moves.append((run.pk, lead_id, amount, state == Sale.State.WON, list(before), list(after)))
    keep_decisions(new)
    write_outcomes({lead_id: decision.outcome for lead_id, decision in new.items()})
    bulk.insert(ReattributionMove, _MOVE_FIELDS, moves)
    return len(moves)


def _undo(run: ReattributionRun, lead_ids: Sequence[int]) -> int:
    """Give these sales back what they had before the run, where that run's word still stands; return 0."""
    utms = lock_sales(lead_ids)
    still_open = set(Sale.objects.filter(open_sales(), lead_id__in=utms).values_list("lead_id", flat=True))
    decisions = select_decisions(list(utms))
    overrides = select_overrides(list(utms))
    rules = set(AttributionRule.objects.values_list("pk", flat=True))
    people = set(Targetologist.objects.values_list("pk", flat=True))
    back: dict[int, Decision] = {}
    for lead_id, before in run.moves.filter(lead_id__in=lead_ids).values_list("lead_id", "before"):
        decision = decisions.get(lead_id)
        outcome = _existing(Outcome(*before), rules)
        if lead_id not in still_open or decision is None or decision.outcome.run != run.pk:
            continue
        if outcome.targetologist is None or outcome.targetologist in people:
            back[lead_id] = Decision(decision.utm, outcome)
    keep_decisions(back)
    write_outcomes({lead_id: overridden(one.outcome, overrides.get(lead_id)) for lead_id, one in back.items()})
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [bulk.ids(back), run.pk, bulk.ids(lead_ids)])
    return 0


def _existing(outcome: Outcome, rules: set[int]) -> Outcome:
    """Return the outcome without a rule that was deleted since."""
    return outcome if outcome.matched_rule in rules else outcome._replace(matched_rule=None)
