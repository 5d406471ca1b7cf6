"""Writes of sales: the tables of this app made to agree with the deals (level-triggered, law 4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from traffic.announcing import announce_sales, take_back_sales
from traffic.attribution import UTM
from traffic.decisions import Outcome, Utm, decide_sales
from traffic.models import Sale
from traffic.pipelines import watched_pipelines
from webhooks import bulk
from webhooks.merge import DealState, Win, from_micros

_FIELDS = (
    "lead_id", "lead_name", "sale_amount", "currency", *UTM, "pipeline_id", "status_id",
    "channel", "targetologist", "matched_rule", "matched_field", "matched_text",
    "funnel_type", "sale_date", "state", "moved", "win_number", "updated_at",
)  # fmt: skip
_SELECT = f"""
SELECT lead_id, lead_name, sale_amount, currency, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       pipeline_id, status_id, channel, targetologist, matched_rule_id, matched_field, matched_text,
       funnel_type, {bulk.as_micros("sale_date")}, state, moved, win_number
FROM all_sales_tracking WHERE lead_id = ANY(%s::bigint[])
"""  # noqa: S608


class StoredSale(NamedTuple):
    """A row of all_sales_tracking, in the order of _FIELDS: UTM from the fifth, the outcome from the twelfth."""

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

    @property
    def utm(self) -> Utm:
        """The UTM values, raw."""
        return self[4:9]

    @property
    def outcome(self) -> Outcome:
        """Whose it is and why."""
        return Outcome(*self[11:17])


def converge_sales(deals: Sequence[DealState], *, live: bool) -> None:
    """Make sales and their notifications agree with these deals.

    A deal won in a watched pipeline has a sale; one no longer won has it `reversed`, though it was won only in passing:
    what is here follows from the deals alone. What is told of it, and where only if `live` (not by replay, resync),
    traffic/announcing.py says.
    """
    now = datetime.now(UTC)
    watched = watched_pipelines()
    stored = _select([deal.lead_id for deal in deals])
    wins = [
        (
            deal,
            (standing := deal.win(watched)) or deal.taken_back(watched),
            standing is not None,
            stored.get(deal.lead_id),
        )
        for deal in deals
    ]
    # A changed rule moves no old sale by itself, nor does an unrelated edit of the deal.
    undecided = {deal.lead_id: utm for deal, win, _, old in wins if win and (utm := _utm(deal)) != (old and old.utm)}
    outcomes = decide_sales(undecided)
    sales: list[StoredSale] = []
    won: list[tuple[StoredSale | None, StoredSale]] = []
    taken_back: list[StoredSale] = []
    for deal, win, is_won, old in wins:
        was_won = old is not None and old.state == Sale.State.WON
        if win is None:  # the pipeline is not watched any more
            if old is not None and was_won:
                sales.append(old._replace(state=Sale.State.REVERSED, status_id=deal.status_id))
                taken_back.append(old)
            continue
        outcome = outcomes.get(deal.lead_id) or (old and old.outcome)
        assert outcome is not None
        sale = _sale(deal, win, outcome, Sale.State.WON if is_won else Sale.State.REVERSED)
        if sale == old:
            continue
        sales.append(sale)
        if is_won:
            won.append((old, sale))
        elif old is not None and was_won:
            taken_back.append(old)
    bulk.upsert(Sale, _FIELDS, [(*sale, now) for sale in sales], key=("lead_id",), volatile=("updated_at",))
    announce_sales(changes=won, live=live)
    take_back_sales(sales=taken_back, live=live)


def _utm(deal: DealState) -> Utm:
    return tuple(getattr(deal, name) for name in UTM)


def _sale(deal: DealState, win: Win, outcome: Outcome, state: Sale.State) -> StoredSale:
    """Return the row that a deal with this win, standing or taken back, should have."""
    return StoredSale._make(
        (
            *(deal.lead_id, deal.name, deal.price, settings.CURRENCY, *_utm(deal), win.pipeline_id, deal.status_id),
            *outcome.shown,
            *(win.at, state, win.moved, win.number),
        )
    )


def _select(lead_ids: Sequence[int]) -> dict[int, StoredSale]:
    with connection.cursor() as cursor:
        cursor.execute(_SELECT, [bulk.ids(lead_ids)])
        return {row[0]: StoredSale._make((*row[:17], from_micros(row[17]), *row[18:])) for row in cursor.fetchall()}
