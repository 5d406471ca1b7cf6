"""Whose sales they are, all things considered: a person's word, else what the rules decided about this very UTM.

A decision is made once for a deal's UTM and kept beside the sales (SaleAttribution). So a changed rule moves no sale,
an edit of the deal does not either, and a sale that is made anew from its deal is attributed as it was before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.db import connection

from traffic.attribution import UTM, Rulebook, attribute, funnel
from traffic.models import SaleAttribution
from traffic.rules.book import current_rulebook
from webhooks import bulk

Utm = tuple[str, ...]  # the values of attribution.UTM, in its order, raw

BY_HAND = "override"  # Sale.matched_field of what a person decided
_FIELDS = (
    "lead_id", *UTM, "channel", "targetologist", "matched_rule", "matched_field", "matched_text", "funnel_type",
    "version",
)  # fmt: skip
_SELECT = """
SELECT lead_id, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       channel, targetologist_id, matched_rule_id, matched_field, matched_text, funnel_type, version_id
FROM sale_attributions WHERE lead_id = ANY(%s::bigint[])
"""
_SELECT_OVERRIDES = """
SELECT DISTINCT ON (lead_id) lead_id, action, targetologist_id FROM sale_overrides
WHERE lead_id = ANY(%s::bigint[]) ORDER BY lead_id, id DESC
"""


class Outcome(NamedTuple):
    """Whose a sale is and why; the columns of a sale, and the version of the rules (None: not known)."""

    channel: str
    targetologist: str | None
    matched_rule: int | None
    matched_field: str
    matched_text: str
    funnel_type: str
    version: int | None = None


class Decision(NamedTuple):
    """What the rules decided about a UTM."""

    utm: Utm
    outcome: Outcome


class Decider:
    """Decides by one version of the rules; the same UTM is looked at once."""

    def __init__(self, book: Rulebook) -> None:
        self.book = book
        self._known: dict[Utm, Outcome] = {}

    def decide(self, utm: Utm) -> Outcome:
        """Return what the rules say about a UTM."""
        known = self._known.get(utm)
        if known is None:
            known = self._known[utm] = outcome_by_rules(utm, self.book)
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
    return Outcome(channel, targetologist, None, BY_HAND, "", outcome.funnel_type, outcome.version)


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
        cursor.execute(_SELECT, [list(lead_ids)])
        return {row[0]: Decision(tuple(row[1:6]), Outcome(*row[6:])) for row in cursor.fetchall()}


def keep_decisions(decisions: Mapping[int, Decision]) -> None:
    """Write what the rules decided about these deals."""
    rows = [(lead_id, *one.utm, *one.outcome) for lead_id, one in sorted(decisions.items())]
    bulk.upsert(SaleAttribution, _FIELDS, rows, key=("lead_id",))


def select_overrides(lead_ids: Sequence[int]) -> dict[int, tuple[str, str | None]]:
    """Return a person's latest word (action, targetologist) about these deals, by lead_id."""
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_OVERRIDES, [list(lead_ids)])
        return {lead_id: (action, targetologist) for lead_id, action, targetologist in cursor.fetchall()}
