"""Writes of sales: the tables of this app made to agree with the deals (level-triggered, law 4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from traffic.announcing import announce_sales, take_back_sales
from traffic.attribution import Attribution, Rule, attribute, funnel
from traffic.models import AttributionRule, Sale
from webhooks import bulk
from webhooks.amocrm.events import UTM_NAMES
from webhooks.merge import DealState, Win
from webhooks.utm import normalise

_UTM = UTM_NAMES[:5]
_FIELDS = (
    "lead_id", "lead_name", "sale_amount", "currency", *_UTM, "pipeline_id", "status_id",
    "channel", "targetologist", "matched_rule", "matched_field", "matched_text",
    "funnel_type", "sale_date", "state", "moved", "win_number", "updated_at",
)  # fmt: skip
_SELECT = """
SELECT lead_id, lead_name, sale_amount, currency, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       pipeline_id, status_id, channel, targetologist, matched_rule_id, matched_field, matched_text,
       funnel_type, sale_date, state, moved, win_number
FROM all_sales_tracking WHERE lead_id = ANY(%s::bigint[])
"""


class StoredSale(NamedTuple):
    """A row of all_sales_tracking, in the order of _FIELDS."""

    lead_id: int
    lead_name: str
    sale_amount: Any
    currency: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_content: str
    utm_term: str
    pipeline_id: int
    status_id: int | None
    channel: str
    targetologist: str | None
    matched_rule: int | None
    matched_field: str
    matched_text: str
    funnel_type: str
    sale_date: datetime
    state: str
    moved: bool
    win_number: int


def converge_sales(deals: Sequence[DealState], *, live: bool) -> None:
    """Make sales and their notifications agree with these deals.

    A deal won in a watched pipeline has a sale; one no longer won has it `reversed`. What is told of it, and where only
    if `live` (not by replay, resync), traffic/announcing.py says.
    """
    now = datetime.now(UTC)
    stored = _select([deal.lead_id for deal in deals])
    rules: list[Rule] | None = None
    sales: list[StoredSale] = []
    won: list[tuple[StoredSale | None, StoredSale]] = []
    taken_back: list[StoredSale] = []
    for deal in deals:
        old = stored.get(deal.lead_id)
        win = deal.win(settings.TRAFFIC_PIPELINE_IDS)
        if win is None:
            if old is not None and old.state == Sale.State.WON:
                sales.append(old._replace(state=Sale.State.REVERSED, status_id=deal.status_id))
                taken_back.append(old)
            continue
        if rules is None:
            rules = select_rules()
        sale = _sale(deal, win, old, rules)
        if sale == old:
            continue
        sales.append(sale)
        won.append((old, sale))
    bulk.upsert(Sale, _FIELDS, [(*sale, now) for sale in sales], key=("lead_id",), volatile=("updated_at",))
    announce_sales(changes=won, live=live)
    take_back_sales(sales=taken_back, live=live)


def select_rules() -> list[Rule]:
    """Return the active rules in the order in which they are tried, their patterns normalised."""
    rows = AttributionRule.objects.filter(active=True).values_list(
        "id", "targetologist_id", "field", "match", "pattern"
    )
    return [Rule(*row[:-1], pattern=normalise(row[-1])) for row in rows]


def _sale(deal: DealState, win: Win, old: StoredSale | None, rules: Sequence[Rule]) -> StoredSale:
    """Return the row that a won deal should have."""
    utm = {name: getattr(deal, name) for name in _UTM}
    if old is not None and all(getattr(old, name) == value for name, value in utm.items()):
        # A changed rule moves no old sale by itself, nor does an unrelated edit of the deal.
        attribution = Attribution(old.channel, old.targetologist, old.matched_rule, old.matched_field, old.matched_text)
    else:
        attribution = attribute(utm, rules)
    return StoredSale(
        lead_id=deal.lead_id,
        lead_name=deal.name,
        sale_amount=deal.price,
        currency=settings.CURRENCY,
        **utm,
        pipeline_id=win.pipeline_id,
        status_id=deal.status_id,
        channel=attribution.channel,
        targetologist=attribution.targetologist,
        matched_rule=attribution.rule_id,
        matched_field=attribution.field,
        matched_text=attribution.text,
        funnel_type=funnel(deal.utm_campaign),
        sale_date=win.at,
        state=Sale.State.WON,
        moved=win.moved,
        win_number=win.number,
    )


def _select(lead_ids: Sequence[int]) -> dict[int, StoredSale]:
    with connection.cursor() as cursor:
        cursor.execute(_SELECT, [list(lead_ids)])
        return {row[0]: StoredSale(*row) for row in cursor.fetchall()}
