"""What today's rules would change of old sales: who loses how much to whom. Nothing is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from onai_project.periods import Period, day_start
from traffic.attribution import Rulebook
from traffic.closing import first_open_day
from traffic.decisions import BY_HAND, Decider
from traffic.figures import Totals
from traffic.models import Sale, Targetologist

# Equal sales are looked at together: an outcome follows from the UTM.
_GROUPS = """
SELECT utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       channel, targetologist, matched_rule_id, matched_field, matched_text, funnel_type,
       state = 'won', count(*), count(sale_amount), coalesce(sum(sale_amount), 0)
FROM all_sales_tracking
WHERE sale_date >= %(start)s AND sale_date < %(end)s AND (%(open)s::timestamptz IS NULL OR sale_date >= %(open)s)
  AND matched_field <> %(by_hand)s
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
"""


@dataclass(frozen=True, slots=True)
class Move:
    """Sales that go from one owner to another; owners are slugs, "unknown" or "referral"."""

    before: str
    after: str
    totals: Totals


@dataclass(slots=True)
class Plan:
    """What would happen. `moves` are of won sales; the counts are of sales, won or taken back."""

    period: Period
    moves: list[Move] = field(default_factory=list)
    looked_at: int = 0
    taken_back: int = 0  # would move too, and no money with them
    why_only: int = 0  # stay with their owner, by another rule, text or funnel
    by_hand: int = 0  # a person decided: left alone
    closed: int = 0  # in a closed month: left alone

    @property
    def changes(self) -> int:
        """How many sales would change in any way."""
        return sum(move.totals.sales for move in self.moves) + self.taken_back + self.why_only


def owner(channel: str, targetologist: str | None) -> str:
    """Return the key of whose a sale is."""
    return targetologist or channel


def owner_names() -> dict[str, str]:
    """Return how owners are called on pages, by key."""
    names = {person.slug: str(person) for person in Targetologist.objects.all()}
    return {**names, "unknown": str(Sale.Channel.UNKNOWN.label), "referral": _("Referral")}


def plan_reattribution(period: Period, book: Rulebook, *, only_rule: int | None = None) -> Plan:
    """Return what these rules would change of the sales of a period, closed months and a person's word left alone.

    With `only_rule` only what that one rule takes is counted.
    """
    plan = Plan(period)
    decider = Decider(book)
    moves: defaultdict[tuple[str, str], Totals] = defaultdict(Totals)
    for *row, won, sales, priced, known in _groups(period):
        utm, shown = tuple(row[:5]), tuple(row[5:])
        plan.looked_at += sales
        outcome = decider.decide(utm)
        if outcome.shown == shown or only_rule not in (None, outcome.matched_rule):
            continue
        before, after = owner(shown[0], shown[1]), owner(outcome.channel, outcome.targetologist)
        if before == after:
            plan.why_only += sales
        elif not won:
            plan.taken_back += sales
        else:
            moves[before, after] += Totals(sales, known, sales - priced)
    plan.moves = [
        Move(before, after, totals)
        for (before, after), totals in sorted(moves.items(), key=lambda item: -item[1].known)
    ]
    in_period = Sale.objects.filter(sale_date__gte=period.start, sale_date__lt=period.end)
    plan.by_hand = in_period.filter(matched_field=BY_HAND).count()
    plan.closed = in_period.exclude(open_sales()).exclude(matched_field=BY_HAND).count()
    return plan


def open_sales() -> Q:
    """Return the condition that a sale is in no closed month."""
    first = first_open_day()
    return Q(sale_date__gte=day_start(first)) if first else Q(pk__isnull=False)


def candidates(period: Period) -> QuerySet[Sale]:
    """Return the sales that a re-attribution of a period looks at."""
    in_period = Sale.objects.filter(sale_date__gte=period.start, sale_date__lt=period.end)
    return in_period.filter(open_sales()).exclude(matched_field=BY_HAND)


def balance(moves: Iterable[Move]) -> list[tuple[str, Totals, Totals]]:
    """Return by owner what they would get and what they would lose: the winners first."""
    gets: defaultdict[str, Totals] = defaultdict(Totals)
    loses: defaultdict[str, Totals] = defaultdict(Totals)
    for move in moves:
        gets[move.after] += move.totals
        loses[move.before] += move.totals
    owners = sorted({*gets, *loses}, key=lambda key: (loses[key].known - gets[key].known, key))
    return [(key, gets[key], loses[key]) for key in owners]


def _groups(period: Period) -> list[Any]:
    first = first_open_day()
    parameters = {
        "start": period.start,
        "end": period.end,
        "open": day_start(first) if first else None,
        "by_hand": BY_HAND,
    }
    with connection.cursor() as cursor:
        cursor.execute(_GROUPS, parameters)
        return list(cursor.fetchall())
