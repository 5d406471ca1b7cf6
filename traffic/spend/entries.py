"""The money spent on ads: what somebody may see of it, its sums, and writing it. Files are read in files.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, transaction
from django.db.models import QuerySet

from onai_project.periods import Period
from traffic.filters import NO_FILTERS, REFERRAL, UNKNOWN, Filters, own_rows, visible_slugs
from traffic.models import AdSpend

_SUMS = """
SELECT GROUPING(targetologist_id, date, campaign), targetologist_id, date, campaign, sum(amount) FROM ad_spend
WHERE date BETWEEN %(first)s AND %(last)s
    AND (%(slugs)s::text[] IS NULL OR targetologist_id = ANY(%(slugs)s::text[]))
    AND (%(line)s::text IS NULL OR targetologist_id = %(line)s)
    AND (%(campaign)s::text IS NULL OR campaign = %(campaign)s)
GROUP BY GROUPING SETS ((targetologist_id), (date), (campaign), ())
"""


@dataclass(frozen=True, slots=True)
class Spend:
    """Sums in tenge; what is not there was not entered. `by_campaign` has "" for what was entered of all together."""

    total: Decimal | None = None
    by_line: dict[str, Decimal] = field(default_factory=dict)
    by_day: dict[date, Decimal] = field(default_factory=dict)
    by_campaign: dict[str, Decimal] = field(default_factory=dict)


def spend_visible_to(user: User | AnonymousUser) -> QuerySet[AdSpend]:
    """Return the spend that somebody may see: all with `traffic.view_all_sales`, else a targetologist's own."""
    return own_rows(AdSpend.objects.all(), user)


def is_spend_known(filters: Filters) -> bool:
    """Return whether spend is entered at the level of these filters at all.

    Nobody enters the cost of a source, a medium, a funnel or of a word in them, nor of what came without an ad.
    """
    finer = (filters.source, filters.medium, filters.funnel)
    if any(value is not None for value in finer) or filters.text or filters.campaign == "":
        return False
    return filters.line not in (UNKNOWN, REFERRAL)


def spend_of(period: Period, user: User | AnonymousUser, filters: Filters = NO_FILTERS) -> Spend:
    """Return the spend of a period as far as it is known at the level of these filters.

    With a campaign only what was entered for that campaign counts.
    """
    if not is_spend_known(filters):
        return Spend()
    values = {
        "first": period.first,
        "last": period.last,
        "slugs": visible_slugs(user),
        "line": filters.line,
        "campaign": filters.campaign,
    }
    total = None
    by_line: dict[str, Decimal] = {}
    by_day: dict[date, Decimal] = {}
    by_campaign: dict[str, Decimal] = {}
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, values)
        for grouping, slug, day, campaign, amount in cursor.fetchall():
            match grouping:
                case 0b011:
                    by_line[slug] = amount
                case 0b101:
                    by_day[day] = amount
                case 0b110:
                    by_campaign[campaign] = amount
                case _:
                    total = amount
    return Spend(total, by_line, by_day, by_campaign)


@dataclass(frozen=True, slots=True)
class SpendLine:
    """One entry as a file has it."""

    date: date
    targetologist: str  # slug
    campaign: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What storing entries does: how many are new, have another amount than before, and are there already."""

    new: int = 0
    changed: int = 0
    same: int = 0


def compare_spend(lines: Iterable[SpendLine]) -> Outcome:
    """Return what `store_spend` would do now."""
    outcome, _ = _sorted(list(lines))
    return outcome


@transaction.atomic
def store_spend(*, lines: Iterable[SpendLine], author: User | None) -> Outcome:
    """Enter all of them; an entry of the same day, targetologist and campaign gets the new amount. All or nothing."""
    given = list(lines)
    outcome, changed = _sorted(given)
    AdSpend.objects.bulk_create(
        [
            AdSpend(
                date=line.date,
                targetologist_id=line.targetologist,
                campaign=line.campaign,
                amount=line.amount,
                author=author,
            )
            for line in changed
        ],
        update_conflicts=True,
        unique_fields=["date", "targetologist", "campaign"],
        update_fields=["amount", "author", "updated_at"],
        batch_size=1000,
    )
    return outcome


def _sorted(lines: list[SpendLine]) -> tuple[Outcome, list[SpendLine]]:
    """Return what there is to do, and the lines that change anything."""
    if not lines:
        return Outcome(), []
    days = [line.date for line in lines]
    there = {
        (day, slug, campaign): amount
        for day, slug, campaign, amount in AdSpend.objects.filter(date__range=(min(days), max(days))).values_list(
            "date", "targetologist_id", "campaign", "amount"
        )
    }
    amounts = [(line, there.get((line.date, line.targetologist, line.campaign))) for line in lines]
    new = [line for line, amount in amounts if amount is None]
    changed = [line for line, amount in amounts if amount is not None and amount != line.amount]
    return Outcome(len(new), len(changed), len(lines) - len(new) - len(changed)), [*new, *changed]
