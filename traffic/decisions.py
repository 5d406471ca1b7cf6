"""Whose sales they are, all things considered: a person's word, else what the rules decided about this very UTM.

A decision is made once for a deal's UTM and kept beside the sales (SaleAttribution). So a changed rule moves no sale,
an edit of the deal does not either, and a sale that is made anew from its deal is attributed as it was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC as UTC_ZONE
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from traffic.attribution import UTM, Rulebook, attribute, funnel
from traffic.models import SaleAttribution
from traffic.rules.book import current_rulebook
from webhooks import bulk
from webhooks.deals import hold_deals

Utm = tuple[str, ...]  # the values of attribution.UTM, in its order, raw

BY_HAND = "override"  # Sale.matched_field of what a person decided
_FIELDS = (
    "lead_id", *UTM, "channel", "targetologist", "matched_rule", "matched_field", "matched_text", "funnel_type",
    "version", "run", "decided_at",
)  # fmt: skip
_SELECT = """
SELECT lead_id, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       channel, targetologist_id, matched_rule_id, matched_field, matched_text, funnel_type, version_id, run_id
FROM sale_attributions WHERE lead_id = ANY(%s::bigint[])
"""
_SELECT_OVERRIDES = """
SELECT DISTINCT ON (lead_id) lead_id, action, targetologist_id FROM sale_overrides
WHERE lead_id = ANY(%s::bigint[]) ORDER BY lead_id, id DESC
"""
_SALES = """
SELECT lead_id, utm_source, utm_medium, utm_campaign, utm_content, utm_term FROM all_sales_tracking
WHERE lead_id = ANY(%s::bigint[]) ORDER BY lead_id FOR UPDATE
"""
_WRITE = """
UPDATE all_sales_tracking AS sale
SET channel = new.channel, targetologist = new.targetologist, matched_rule_id = new.matched_rule,
    matched_field = new.matched_field, matched_text = new.matched_text, funnel_type = new.funnel_type,
    updated_at = statement_timestamp()
FROM json_to_recordset(%s::json) AS new (
    lead_id bigint, channel text, targetologist text, matched_rule bigint, matched_field text, matched_text text,
    funnel_type text
)
WHERE sale.lead_id = new.lead_id
  AND (sale.channel, sale.targetologist, sale.matched_rule_id, sale.matched_field, sale.matched_text, sale.funnel_type)
      IS DISTINCT FROM
      (new.channel, new.targetologist, new.matched_rule, new.matched_field, new.matched_text, new.funnel_type)
"""


class Outcome(NamedTuple):
    """Whose a sale is and why: the columns of a sale, and the version of the rules (None: not known)."""

    channel: str
    targetologist: str | None
    matched_rule: int | None
    matched_field: str
    matched_text: str
    funnel_type: str
    version: int | None = None
    run: int | None = None  # the re-attribution that decided it; None: the deal's arrival

    @property
    def shown(self) -> tuple[object, ...]:
        """What of it the sale's own row shows."""
        return self[:6]


class Decision(NamedTuple):
    """What the rules decided about a UTM."""

    utm: Utm
    outcome: Outcome


class Decider:
    """Decides by one version of the rules; UTM that differ only where no rule looks are looked at once."""

    def __init__(self, book: Rulebook) -> None:
        self.book = book
        looked_at = {"utm_source", "utm_campaign"}.union(*(rule.fields for rule in book.rules))
        self._positions = [position for position, name in enumerate(UTM) if name in looked_at]
        self._known: dict[Utm, Outcome] = {}

    def decide(self, utm: Utm) -> Outcome:
        """Return what the rules say about a UTM."""
        key = tuple([utm[position] for position in self._positions])
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = outcome_by_rules(utm, self.book)
        return known


def outcome_by_rules(utm: Utm, book: Rulebook) -> Outcome:
    """Return whose a sale with this UTM is under these rules. Pure."""
    named = dict(zip(UTM, utm, strict=True))
    found = attribute(named, book.rules)
    return Outcome(
        found.channel, found.targetologist, found.rule_id, found.field, found.text,
        found.funnel or funnel(named["utm_campaign"], book.funnels), book.version,
    )  # fmt: skip


def overridden(outcome: Outcome, override: tuple[str, str | None] | None) -> Outcome:
    """Return the outcome with a person's word, (action, targetologist), put above the rules'. Pure."""
    if override is None or override[0] == "release":
        return outcome
    action, targetologist = override
    channel = "targetologist" if action == "assign" else "unknown"
    return Outcome(channel, targetologist, None, BY_HAND, "", outcome.funnel_type, outcome.version, outcome.run)


def decide_sales(utms: Mapping[int, Utm]) -> dict[int, Outcome]:
    """Return whose each deal is, by lead_id, given their UTM; what the rules decide for the first time is kept.

    The deals must be locked (law 5).
    """
    if not utms:
        return {}
    decisions = select_decisions(list(utms))
    decider: Decider | None = None
    new = []
    for lead_id, utm in utms.items():
        if lead_id not in decisions or decisions[lead_id].utm != utm:
            decider = decider or Decider(current_rulebook())
            decisions[lead_id] = Decision(utm, decider.decide(utm))
            new.append(lead_id)
    keep_decisions({lead_id: decisions[lead_id] for lead_id in new})
    overrides = select_overrides(list(utms))
    return {lead_id: overridden(decisions[lead_id].outcome, overrides.get(lead_id)) for lead_id in utms}


def select_decisions(lead_ids: Sequence[int]) -> dict[int, Decision]:
    """Return what the rules decided about these deals, by lead_id; of some there may be nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_SELECT, [bulk.ids(lead_ids)])
        return {row[0]: Decision(tuple(row[1:6]), Outcome(*row[6:])) for row in cursor.fetchall()}


def keep_decisions(decisions: Mapping[int, Decision]) -> None:
    """Write what the rules decided about these deals."""
    now = datetime.now(UTC_ZONE)
    rows = [(lead_id, *one.utm, *one.outcome, now) for lead_id, one in sorted(decisions.items())]
    bulk.upsert(SaleAttribution, _FIELDS, rows, key=("lead_id",), volatile=("decided_at",))


def select_overrides(lead_ids: Sequence[int]) -> dict[int, tuple[str, str | None]]:
    """Return a person's latest word (action, targetologist) about these deals, by lead_id."""
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_OVERRIDES, [bulk.ids(lead_ids)])
        return {lead_id: (action, targetologist) for lead_id, action, targetologist in cursor.fetchall()}


def write_outcomes(outcomes: Mapping[int, Outcome]) -> int:
    """Make the rows of these sales say whose they are; return how many changed. Their deals must be locked."""
    names = Outcome._fields[:6]
    rows = [
        {"lead_id": lead_id, **dict(zip(names, outcome.shown, strict=True))}
        for lead_id, outcome in sorted(outcomes.items())
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [bulk.as_json(rows)])
        return int(cursor.rowcount)


def lock_sales(lead_ids: Sequence[int]) -> dict[int, Utm]:
    """Lock the deals of these sales, then the sales (law 5); return the UTM of those that there are, by lead_id."""
    hold_deals(lead_ids)
    with connection.cursor() as cursor:
        cursor.execute(_SALES, [bulk.ids(lead_ids)])
        return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}
