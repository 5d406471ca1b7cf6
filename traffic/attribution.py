"""Whose sale it is. Pure: UTM and rules in, an Attribution out; the receiver and everything else ask here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from webhooks.utm import normalise, referral_code

CAMPAIGN_OR_SOURCE = "campaign_or_source"
FUNNELS = (
    ("express", ("express", "экспресс")),
    ("challenge3d", ("challenge", "трехдневник", "3d")),
    ("intensive1d", ("intensive", "однодневник", "1d")),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """If `pattern` matches `field`, the sale is `targetologist`'s. The pattern is normalised."""

    id: int
    targetologist: str
    field: str  # a UTM name, or CAMPAIGN_OR_SOURCE
    match: str  # contains, equals, starts_with
    pattern: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """The outcome: the channel (`targetologist`, `referral`, `unknown`), and by which rule, field and text."""

    channel: str
    targetologist: str | None = None
    rule_id: int | None = None
    field: str = ""
    text: str = ""


UNKNOWN = Attribution("unknown")


def attribute(utm: Mapping[str, str], rules: Iterable[Rule]) -> Attribution:
    """Return whose sale a deal with this `utm` (by name) is: the first of `rules` that matches, in their order.

    A referral link's sale is nobody's: it stands apart, so that the total counts each tenge once.
    """
    if (code := referral_code(utm.get("utm_source", ""))) is not None:
        return Attribution("referral", field="utm_source", text=code[:200])
    values = {name: normalise(value) for name, value in utm.items() if value}
    for rule in rules:
        fields = ("utm_campaign", "utm_source") if rule.field == CAMPAIGN_OR_SOURCE else (rule.field,)
        for field in fields:
            if _matches(rule, values.get(field, "")):
                return Attribution("targetologist", rule.targetologist, rule.id, field, rule.pattern)
    return UNKNOWN


def _matches(rule: Rule, value: str) -> bool:
    if rule.match == "equals":
        return value == rule.pattern
    if rule.match == "starts_with":
        return value.startswith(rule.pattern)
    return rule.pattern in value


def funnel(utm_campaign: str) -> str:
    """Return the funnel that a campaign sells, by the words in its name; express where none is there."""
    name = normalise(utm_campaign)
    return next((funnel for funnel, words in FUNNELS if any(word in name for word in words)), "express")
