"""The rows of referral_conversions, and what bears on them, read in bulk for the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from onai_project.periods import day_start, zone
from referrals.judgement import Decided, Judgement, Person, judge
from referrals.models import Conversion

FIELDS = (
    "lead_id", "lead_name", "referrer", "contact_id", "utm_source", "utm_campaign", "pipeline_id", "sale_amount",
    "state", "moved", "plan", "sale_date", "available_at", "hold_reason", "campaign_owner", "rejected",
    "self_referral",
)  # fmt: skip
_COLUMNS = """
SELECT c.lead_id, c.lead_name, c.referrer_id, c.contact_id, c.utm_source, c.utm_campaign, c.pipeline_id,
       c.sale_amount, c.state, c.moved, c.plan_id, c.sale_date, c.available_at, c.hold_reason,
       c.campaign_owner, c.rejected, c.self_referral
FROM referral_conversions AS c
"""
_BY_LEAD = _COLUMNS + "WHERE c.lead_id = ANY(%s::bigint[])"
_BY_REFERRER = _COLUMNS + "WHERE c.referrer_id = %s"
_BY_CUSTOMER = f"""
{_COLUMNS}
WHERE (c.contact_id = ANY(%s::bigint[]) OR c.earlier_sale = ANY(%s::bigint[])) AND c.plan_id = ANY(%s::bigint[])
"""
_MONTHS = """
JOIN unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS month(referrer_id, first, last)
ON c.referrer_id = month.referrer_id AND c.sale_date >= month.first AND c.sale_date < month.last
"""
_BY_MONTH = _COLUMNS + _MONTHS + "WHERE c.plan_id = ANY(%s::bigint[])"
# Won and not rejected: what StoredConversion.counts says.
_COUNTS = f"""
SELECT c.referrer_id, month.first, count(*) FROM referral_conversions AS c {_MONTHS}
WHERE c.state = 'won' AND c.rejected = '' GROUP BY 1, 2
"""  # noqa: S608
# Of all won deals, by a referral link or not; what DealState.win() says, in SQL.
_FIRSTS = """
SELECT DISTINCT ON (deal.contact_id) deal.contact_id, deal.lead_id
FROM deals AS deal
CROSS JOIN LATERAL (SELECT min((win.value ->> 0)::bigint) AS at FROM jsonb_each(deal.wins) AS win) AS won
WHERE deal.contact_id = ANY(%s::bigint[]) AND NOT deal.is_deleted AND deal.wins <> '{}'
  AND NOT EXISTS (
    SELECT FROM referral_conversions AS sale
    WHERE sale.lead_id = deal.lead_id AND sale.state = 'won' AND sale.rejected <> ''
  )
ORDER BY deal.contact_id, won.at, deal.lead_id
"""
_NOTE_EARLIER = """
UPDATE referral_conversions AS sale SET earlier_sale = new.earlier
FROM unnest(%s::bigint[], %s::bigint[]) AS new (lead_id, earlier)
WHERE sale.lead_id = new.lead_id AND sale.earlier_sale IS DISTINCT FROM new.earlier
"""
_DECISIONS = """
SELECT c.lead_id, d.referrer_id, d.kind, d.holds, d.amount, d.reason
FROM referral_decisions AS d JOIN referral_conversions AS c ON c.id = d.conversion_id
WHERE c.lead_id = ANY(%s::bigint[]) ORDER BY d.id
"""
_PEOPLE = """
SELECT contact_id, phone, email, forgotten_at IS NOT NULL FROM contacts WHERE contact_id = ANY(%s::bigint[])
"""


class Month(NamedTuple):
    """A referrer's Almaty month."""

    referrer: int
    first: date


class StoredConversion(NamedTuple):
    """A row of referral_conversions, in the order of FIELDS."""

    lead_id: int
    lead_name: str
    referrer: int
    contact_id: int | None
    utm_source: str
    utm_campaign: str
    pipeline_id: int | None
    sale_amount: Decimal | None
    state: str
    moved: bool
    plan: int | None
    sale_date: datetime
    available_at: datetime
    hold_reason: str
    campaign_owner: str
    rejected: str
    self_referral: bool

    @property
    def counts(self) -> bool:
        """Return whether it is one of the referrer's sales of the month."""
        return self.state == Conversion.State.WON and not self.rejected

    @property
    def month(self) -> Month:
        """Return the month that it counts in."""
        return Month(self.referrer, business_day(self.sale_date).replace(day=1))

    @property
    def weight(self) -> tuple[object, ...]:
        """Return what other conversions' commissions may depend on."""
        return self.counts, self.referrer, self.contact_id, self.sale_date


Conversions = dict[int, StoredConversion]


def business_day(moment: datetime) -> date:
    """Return the business day of a moment."""
    return moment.astimezone(zone()).date()


def select_conversions(lead_ids: Collection[int]) -> Conversions:
    """Return the conversions of these deals, by lead_id."""
    return _select(_BY_LEAD, [list(lead_ids)])


def select_conversions_of(referrer_id: int) -> Conversions:
    """Return all conversions of a referrer."""
    return _select(_BY_REFERRER, [referrer_id])


def select_of_months(months: Collection[Month], plans: Collection[int]) -> Conversions:
    """Return the conversions of these months that earn by one of these plans."""
    return _select(_BY_MONTH, [*_bounds(months), list(plans)]) if months else {}


def select_of_customers(contacts: Collection[int], deals: Collection[int], plans: Collection[int]) -> Conversions:
    """Return the conversions that earn by one of these plans, of these customers, or of one whose earlier sale one of
    these deals was when it was last looked at."""
    return _select(_BY_CUSTOMER, [list(contacts), list(deals), list(plans)]) if contacts or deals else {}


def count_months(months: Collection[Month]) -> dict[Month, int]:
    """Return how many conversions count in each of these months."""
    if not months:
        return {}
    counts = dict.fromkeys(months, 0)
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, _bounds(months))
        for referrer_id, first, count in cursor.fetchall():
            counts[Month(referrer_id, business_day(first))] = count
    return counts


def select_firsts(contacts: Collection[int]) -> dict[int, int]:
    """Return the first won deal of each of these customers, whoever brought it; a rejected sale is nobody's first."""
    if not contacts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_FIRSTS, [list(contacts)])
        return dict(cursor.fetchall())


def note_earlier_sales(earlier: Mapping[int, int | None]) -> None:
    """Note of these conversions, by deal, which earlier sale of the customer's makes them earn nothing."""
    if earlier:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE_EARLIER, [list(earlier), list(earlier.values())])


def select_judgements(lead_ids: Collection[int]) -> dict[tuple[int, int], Judgement]:
    """Return what was decided of these conversions, by (deal, referrer); what was never decided is left out."""
    decided: dict[tuple[int, int], list[Decided]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_DECISIONS, [list(lead_ids)])
        for lead_id, referrer_id, kind, holds, amount, reason in cursor.fetchall():
            decided.setdefault((lead_id, referrer_id), []).append(Decided(kind, tuple(holds), amount, reason))
    return {key: judge(rows) for key, rows in decided.items()}


def select_people(contacts: Collection[int]) -> dict[int, Person | None]:
    """Return how to reach these customers, of those that the API has told of; None of a person who was forgotten."""
    if not contacts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, [list(contacts)])
        return {
            contact_id: None if is_forgotten else Person(phone, email)
            for contact_id, phone, email, is_forgotten in cursor.fetchall()
        }


def customers_of(conversions: Iterable[StoredConversion]) -> set[int]:
    """Return the known customers of these conversions."""
    return {conversion.contact_id for conversion in conversions if conversion.contact_id is not None}


def _select(sql: str, parameters: Sequence[Any]) -> Conversions:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return {row[0]: StoredConversion(*row) for row in cursor.fetchall()}


def _bounds(months: Collection[Month]) -> list[Any]:
    """Return the months' referrers, first moments and the first moments after them."""
    starts = [day_start(month.first) for month in months]
    ends = [day_start((month.first + timedelta(days=32)).replace(day=1)) for month in months]
    return [[month.referrer for month in months], list(starts), list(ends)]
