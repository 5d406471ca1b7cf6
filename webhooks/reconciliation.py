"""Deals compared with AmoCRM's own record: what never arrived, or differs, enters the inbox as an answer of the API.

A stretch of time is compared slice by slice. A slice's answers, its findings and how far the run has come are
committed together, so a run that was killed goes on where it was; what is compared twice, or by two at once, changes
nothing. A listing that breaks off is an error: the slice is not done, and is compared again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from webhooks import bulk, contacts, enrichment
from webhooks.amocrm.api import MOST_ENTITIES, Api, ApiError, Item, configured
from webhooks.amocrm.events import WON
from webhooks.comparison import DELETED, RESTORED, Change, Hook, Known, Verdict, compare, leans_on_moves, read_changes
from webhooks.deals import select_stages
from webhooks.merge import from_micros
from webhooks.models import NO_HOOKS, Deal, Reconciliation, ReconciliationFinding, WebhookDelivery, WebhookLog
from webhooks.reasons import because

log = structlog.get_logger("webhooks")

# See webhooks.amocrm.api.LOCK: one slice at a time in the whole system, so that two do not store the same answers.
LOCK = 0x6F6E6169_0000000B
# What is committed at a time. A backfill of a year takes some 50 slices of a dozen requests a pipeline.
SLICE = timedelta(days=7)
# How often the clock compares; how much of the time before it looks at again; how far back its first run begins.
EVERY = timedelta(hours=1)
OVERLAP = timedelta(hours=1)
FIRST = timedelta(days=3)
# Clocks and ways differ: a win so little before the first hook may be news.
LEEWAY = timedelta(hours=1)
# A hook may still be on its way: what is younger is not called missed, and left to the clock's next run.
SETTLE = timedelta(minutes=5)
# Deals compared, and stored in one delivery, at a time.
CHUNK = 100
_FINDING_FIELDS = ("run", "lead_id", "kind", "at", "fields")
Value = TypeVar("Value")
Kind = ReconciliationFinding.Kind


@dataclass(slots=True)
class Slice:
    """What became of one slice of a run."""

    since: datetime
    until: datetime
    deals: int
    asked_at: datetime  # by the clock that dates deliveries
    verdicts: list[Verdict]  # only those with something to tell
    missed: int = 0  # of them, hooks that no run had found before

    @property
    def entered(self) -> int:
        """Return how many deals are to be corrected."""
        return sum(bool(verdict.differs) for verdict in self.verdicts)


def start_run(*, since: datetime, until: datetime, is_periodic: bool = False) -> Reconciliation:
    """Return a run over this time: an unfinished one that began at the same moment, which goes on, else a new one.

    Raises ValueError where the time ends before it begins.
    """
    if until <= since:
        raise ValueError("the time to compare ends before it begins")
    unfinished = Reconciliation.objects.filter(ended_at=None, is_periodic=is_periodic)
    run = unfinished.filter(since=since, until__lte=until).order_by("pk").last()
    if run is None:
        return Reconciliation.objects.create(since=since, until=until, done_until=since, is_periodic=is_periodic)
    run.until = until
    run.save(update_fields=["until"])
    return run


def reconcile(api: Api, run: Reconciliation) -> Iterator[Slice]:
    """Compare what is left of a run; yield each slice when it is committed. Waits while another run has its turn.

    Raises ApiError where AmoCRM does not answer; the run says so, and can be gone on with.
    """
    try:
        pipelines = select_pipelines(api)
        for start, end in slices(run.done_until, run.until):
            with _turn(wait=True):
                found = look(api, pipelines, start, end)
                _enter(run, found)
            yield found
    except ApiError as error:
        Reconciliation.objects.filter(pk=run.pk).update(error=because(str(error)))
        raise


def look(api: Api, pipelines: Sequence[int], since: datetime, until: datetime) -> Slice:
    """Compare one slice and write nothing."""
    asked_at = enrichment.database_now()
    leads: dict[int, Item] = {}
    items: dict[str, Item] = {}
    for pipeline in pipelines:
        for page in api.won_leads(pipeline, since, until):
            leads |= {lead["id"]: lead for lead in contacts.without_forgotten(page)}
        for side in ("value_after", "value_before"):
            for page in api.events("lead_status_changed", since, until, stage=(side, pipeline, WON)):
                items |= {str(item.get("id")): item for item in page}
    for kind in ("lead_deleted", "lead_restored"):
        for page in api.events(kind, since, until):
            items |= {str(item.get("id")): item for item in page}
    changes: dict[int, list[Change]] = {}
    for change in sorted(read_changes(items.values()), key=lambda change: change.at):
        changes.setdefault(change.lead_id, []).append(change)
    ids = sorted({*leads, *_concerned(changes), *_won_here(since, until)})
    connected = connected_at()
    now = datetime.now(UTC)
    found = Slice(since, until, len(ids), asked_at, [])

    def judge(lead_id: int, known: Known | None, lead: Item | None, moves: Sequence[Item] = ()) -> Verdict:
        return compare(
            lead_id,
            known=known,
            lead=lead,
            changes=[change for change in changes.get(lead_id, ()) if change.at <= (now - SETTLE).timestamp()],
            utm_field_ids=settings.AMOCRM_UTM_FIELD_IDS,
            connected_at=connected.timestamp() if connected else 0,
            now=now.timestamp(),
            moves=moves,
        )

    for chunk in _chunks(ids):
        missing = [lead_id for lead_id in chunk if lead_id not in leads]
        leads |= {lead["id"]: lead for lead in enrichment.fetch(api, missing)[0]} if missing else {}
        known = select_known(chunk)
        verdicts = {lead_id: judge(lead_id, known.get(lead_id), leads.get(lead_id)) for lead_id in chunk}
        leaning = [lead_id for lead_id, verdict in verdicts.items() if leans_on_moves(verdict.deal)]
        for few in _chunks(leaning, MOST_ENTITIES):
            moved: dict[int, list[Item]] = {}
            for item in api.moves(few):
                moved.setdefault(item.get("entity_id", 0), []).append(item)
            verdicts |= {
                lead_id: judge(lead_id, known.get(lead_id), leads.get(lead_id), moved.get(lead_id, ()))
                for lead_id in few
            }
        for verdict in verdicts.values():
            if verdict.differs or verdict.missed or verdict.is_gone:
                found.verdicts.append(verdict)
    return found


def reconcile_due() -> Slice | None:
    """Compare what is due by the clock, a slice at most; return it. None where it is too early, or not possible now."""
    with _turn(wait=False) as is_ours, Api() as api:
        run = due_run(datetime.now(UTC)) if is_ours else None
        if run is None:
            return None
        try:
            start, end = next(slices(run.done_until, run.until))
            found = look(api, select_pipelines(api), start, end)
        except ApiError as error:
            Reconciliation.objects.filter(pk=run.pk).update(error=because(str(error)))
            log.warning("AmoCRM API: not reconciled", run=run.pk, error=str(error))
            return None
        _enter(run, found)
        return found


def due_run(now: datetime) -> Reconciliation | None:
    """Return the clock's run that is to be gone on with or to be begun; None where it is too early."""
    if not configured():
        return None
    last = Reconciliation.objects.filter(is_periodic=True).order_by("pk").last()
    if last is not None and last.ended_at is None:
        return last
    until = now - SETTLE
    if last is not None and until - last.until < EVERY:
        return None
    since = until - FIRST if last is None else last.until - OVERLAP
    return start_run(since=since, until=until, is_periodic=True)


def slices(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the time in slices, oldest first."""
    while since < until:
        end = min(since + SLICE, until)
        yield since, end
        since = end


def select_pipelines(api: Api) -> list[int]:
    """Return the pipelines to compare: all of the account, since a referral may be won in any, and the watched ones."""
    told = {pipeline["id"] for pipeline in api.pipelines() if isinstance(pipeline.get("id"), int)}
    return sorted(told | set(settings.TRAFFIC_PIPELINE_IDS))


def connected_at() -> datetime | None:
    """Return when the first hook ever came; None before."""
    hooks = WebhookDelivery.objects.exclude(source__in=NO_HOOKS).order_by("pk")
    return hooks.values_list("received_at", flat=True).first()


def select_known(lead_ids: Sequence[int]) -> dict[int, Known]:
    """Return what we know of these deals; unknown ones are left out."""
    states = dict(Deal.objects.filter(pk__in=lead_ids).values_list("pk", "merge"))
    stages = select_stages(lead_ids)
    hooks: dict[int, list[Hook]] = {}
    told = WebhookLog.objects.filter(lead_id__in=lead_ids).exclude(source__in=NO_HOOKS)
    for lead_id, action, status_id, pipeline_id, received_at, told_at in told.values_list(
        "lead_id", "action", "status_id", "pipeline_id", "received_at", "deal_data__updated_at"
    ):
        hooks.setdefault(lead_id or 0, []).append(
            Hook(action, status_id, pipeline_id, received_at.timestamp(), told_at)
        )
    return {lead_id: Known(state, stages.get(lead_id, ()), hooks.get(lead_id, ())) for lead_id, state in states.items()}


def _concerned(changes: dict[int, list[Change]]) -> set[int]:
    """Return the deals whose changes concern us: every win, and deletions of deals that we know."""
    only_deleted = {
        lead_id for lead_id, told in changes.items() if all(change.kind in (DELETED, RESTORED) for change in told)
    }
    known = Deal.objects.filter(pk__in=only_deleted).values_list("pk", flat=True)
    return (changes.keys() - only_deleted) | set(known)


def _won_here(since: datetime, until: datetime) -> Iterable[int]:
    """Return the deals that we have won in this time."""
    return Deal.objects.filter(won_at__range=(since, until), is_deleted=False).values_list("pk", flat=True)


@contextmanager
def _turn(*, wait: bool) -> Iterator[bool]:
    """Hold the turn to compare; without waiting, tell whether it is ours."""
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            is_ours = True
        else:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        # A lost connection has lost the lock already.
        if is_ours and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


@transaction.atomic
def _enter(run: Reconciliation, found: Slice) -> None:
    """Store the answers, the findings and how far the run has come; count the hooks that nobody had missed yet."""
    news_since = connected_at()
    for quiet in (False, True):
        entering = [v for v in found.verdicts if v.differs and _is_history(v, news_since) is quiet]
        for chunk in _chunks(entering):
            enrichment.store_answer(
                [verdict.lead for verdict in chunk if verdict.lead],
                [item for verdict in chunk for item in verdict.events],
                quiet=quiet,
                asked_at=found.asked_at,
            )
    missed = [
        _finding(run, v, change.kind, from_micros(change.at * 10**6)) for v in found.verdicts for change in v.missed
    ]
    found.missed = bulk.insert(ReconciliationFinding, _FINDING_FIELDS, missed, ignore_conflicts=True)
    others = [
        _finding(run, verdict, Kind.GONE if verdict.is_gone else Kind.DIFFERS, _moment(verdict, found))
        for verdict in found.verdicts
        if verdict.is_gone or (verdict.differs and not verdict.missed)
    ]
    bulk.insert(ReconciliationFinding, _FINDING_FIELDS, others, ignore_conflicts=True)
    is_last = found.until >= run.until
    Reconciliation.objects.filter(pk=run.pk).update(
        done_until=found.until,
        deals=F("deals") + found.deals,
        entered=F("entered") + found.entered,
        missed=F("missed") + found.missed,
        ended_at=datetime.now(UTC) if is_last else None,
        error="",
    )
    run.refresh_from_db()
    if found.missed or found.entered:
        log.warning("AmoCRM API: reconciled", run=run.pk, deals=found.deals, entered=found.entered, missed=found.missed)


def _is_history(verdict: Verdict, news_since: datetime | None) -> bool:
    """Return whether a win is from before the first hook: other means told of it, or nobody; ours do not."""
    win = verdict.deal.win()
    return win is not None and (news_since is None or win.at < news_since - LEEWAY)


def _finding(run: Reconciliation, verdict: Verdict, kind: str, at: datetime) -> tuple[object, ...]:
    return (run.pk, verdict.lead_id, kind, at, ", ".join(verdict.differs))


def _moment(verdict: Verdict, found: Slice) -> datetime:
    """Return when it was so in AmoCRM: the deal's last edit there; for one that is gone the win that we have."""
    updated = verdict.lead.get("updated_at") if verdict.lead else None
    if isinstance(updated, int):
        return from_micros(updated * 10**6)
    win = verdict.deal.win()
    return win.at if win else found.until


def _chunks(values: Sequence[Value], size: int = CHUNK) -> Iterator[Sequence[Value]]:
    return (values[start : start + size] for start in range(0, len(values), size))
