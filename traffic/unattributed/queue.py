"""Sales that no rule gave to anybody: grouped by UTM, the largest sums first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode

from django.db import transaction
from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum

from onai_project.periods import Period, today
from traffic.attribution import Rule, Rulebook, macros
from traffic.figures import Totals
from traffic.models import AttributionRule, Sale
from traffic.reattribution.plan import Plan, open_sales, plan_reattribution
from traffic.rules.book import select_funnels, select_rules
from webhooks.utm import normalise

# More can't be read; the search finds the others.
LIMIT = 200
KEYS = ("utm_campaign", "utm_source", "utm_medium")
DRAFT = 0  # the id of a rule that is not saved yet


@dataclass(frozen=True, slots=True)
class Group:
    """Unattributed sales with the same campaign, source and medium."""

    utm_campaign: str
    utm_source: str
    utm_medium: str
    totals: Totals
    first: datetime
    last: datetime

    @property
    def query(self) -> str:
        """The query string that names the group."""
        return urlencode({name: getattr(self, name) for name in KEYS})

    @property
    def macro(self) -> str:
        """A macro that the advertising system did not replace, or ""."""
        return next(iter(macros({name: getattr(self, name) for name in KEYS}).values()), "")


def unattributed_sales() -> QuerySet[Sale]:
    """Return the won sales that nobody has; a person's word that they are nobody's is an answer, too."""
    return Sale.objects.filter(channel=Sale.Channel.UNKNOWN, state=Sale.State.WON, matched_field="")


def unattributed_groups(search: str = "") -> tuple[list[Group], Totals]:
    """Return the groups in which a text occurs (all, if it is empty), at most LIMIT, and the sums of all of them."""
    sales = unattributed_sales()
    if search:
        sales = sales.filter(Q(*((f"{name}__icontains", search) for name in KEYS), _connector=Q.OR))
    summed = {"sales": Count("pk"), "priced": Count("sale_amount"), "known": Sum("sale_amount")}
    rows = (
        sales.values(*KEYS)
        .annotate(**summed, first=Min("sale_date"), last=Max("sale_date"))
        .order_by(F("known").desc(nulls_last=True), "-sales", *KEYS)[:LIMIT]
    )
    groups = [
        Group(*(row[name] for name in KEYS), _totals(row), row["first"], row["last"])  # type: ignore[call-arg]
        for row in rows
    ]
    return groups, _totals(sales.aggregate(**summed))


def sales_of_group(campaign: str, source: str, medium: str) -> QuerySet[Sale]:
    """Return the unattributed sales with exactly these values."""
    return unattributed_sales().filter(utm_campaign=campaign, utm_source=source, utm_medium=medium)


def assignable(sales: QuerySet[Sale]) -> list[int]:
    """Return the deals of those that are in no closed month."""
    return list(sales.filter(open_sales()).order_by("lead_id").values_list("lead_id", flat=True))


def preview_rule(rule: Rule, *, at_top: bool) -> tuple[Plan, list[Rule]]:
    """Return what a rule would take of all old sales, and the rules with it in its place. Nothing is saved."""
    rules = select_rules()
    rules = [rule, *rules] if at_top else [*rules, rule]
    book = Rulebook(tuple(rules), tuple(select_funnels()))
    first = Sale.objects.aggregate(first=Min("sale_date"))["first"]
    since = first.date() if first else today()
    return plan_reattribution(Period(since, max(today(), since)), book, only_rule=rule.id), rules


def draft_rule(*, targetologist: str, field: str, match: str, pattern: str) -> Rule:
    """Return a rule that is not saved yet."""
    return Rule(DRAFT, targetologist, field, match, normalise(pattern))


def add_rule(*, targetologist: str, field: str, match: str, pattern: str, at_top: bool) -> AttributionRule:
    """Save a rule before or after all others. It counts for sales from now on; old ones stay."""
    with transaction.atomic():
        orders: Sequence[int] = list(AttributionRule.objects.select_for_update().values_list("order", flat=True))
        if at_top and orders and min(orders) == 0:
            AttributionRule.objects.update(order=F("order") + 10)
            orders = [order + 10 for order in orders]
        order = (min(orders, default=10) - 1) if at_top else (max(orders, default=0) + 10)
        return AttributionRule.objects.create(
            targetologist_id=targetologist, field=field, match=match, pattern=pattern, order=order
        )


def _totals(row: dict[str, object]) -> Totals:
    sales, priced, known = row["sales"], row["priced"], row["known"]
    assert isinstance(sales, int)
    assert isinstance(priced, int)
    return Totals(sales, known if isinstance(known, Decimal) else Decimal(0), sales - priced)
