"""Whose sale it is. Pure: UTM and rules in, an Attribution out; the receiver and everything else ask here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from webhooks.utm import normalise, referral_code

UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
CAMPAIGN_OR_SOURCE = "campaign_or_source"
# Of a normalised pattern: what a sale keeps of the text that matched. Normalising makes up to 18 characters of one.
MAX_PATTERN = 200
# What an advertising system should have replaced: {{campaign.name}}, {campaign_id}, __AID__, %7B%7Bad.id%7D%7D.
_MACRO = re.compile(r"\{\{[^{}]*\}\}|\{[A-Za-z][\w.:-]*\}|__[A-Z][A-Z0-9_]*?__|(?i:%7B%7B.*?%7D%7D)")


@dataclass(frozen=True, slots=True)
class Rule:
    """If `pattern` matches `field`, the sale is `targetologist`'s. The pattern is normalised."""

    id: int
    targetologist: str
    field: str  # a UTM name, or CAMPAIGN_OR_SOURCE
    match: str  # contains, equals, starts_with
    pattern: str
    funnel: str = ""  # of the sales that it attributes; "": what the campaign's name says

    @property
    def fields(self) -> tuple[str, ...]:
        """The UTM names that it looks at, in this order."""
        return ("utm_campaign", "utm_source") if self.field == CAMPAIGN_OR_SOURCE else (self.field,)

    def matches(self, value: str) -> bool:
        """Return whether it matches a normalised value. An empty pattern matches nothing."""
        if not self.pattern:
            return False
        if self.match == "equals":
            return value == self.pattern
        if self.match == "starts_with":
            return value.startswith(self.pattern)
        return self.pattern in value


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was tried, and the field in which it matched; "" where it did not."""

    rule: Rule
    field: str = ""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The outcome: the channel (`targetologist`, `referral`, `unknown`), and by which rule, field and text.

    `trace` is the rules that were tried, in their order; the last one is the one that matched, if any did.
    """

    channel: str
    targetologist: str | None = None
    rule_id: int | None = None
    field: str = ""
    text: str = ""
    funnel: str = ""
    trace: tuple[Step, ...] = dataclasses.field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Funnel:
    """A funnel and the normalised words by which a campaign's name tells of it."""

    slug: str
    words: tuple[str, ...]
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything that an attribution rests on: the active rules and the funnels, in the order in which they are tried.

    `version` is the number under which this very content is kept (traffic.models.RuleVersion).
    """

    rules: tuple[Rule, ...]
    funnels: tuple[Funnel, ...] = ()
    version: int | None = None


def attribute(utm: Mapping[str, str], rules: Iterable[Rule]) -> Attribution:
    """Return whose sale a deal with this `utm` (by name) is: the first of `rules` that matches, in their order.

    A referral link's sale is nobody's: it stands apart, so that the total counts each tenge once.
    """
    if (code := referral_code(utm.get("utm_source", ""))) is not None:
        return Attribution("referral", field="utm_source", text=code[:MAX_PATTERN])
    values = {name: normalise(value) for name, value in utm.items() if value}
    trace: list[Step] = []
    for rule in rules:
        for name in rule.fields:
            if rule.matches(values.get(name, "")):
                trace.append(Step(rule, name))
                return Attribution(
                    "targetologist",
                    rule.targetologist,
                    rule.id,
                    name,
                    rule.pattern[:MAX_PATTERN],
                    rule.funnel,
                    tuple(trace),
                )
        trace.append(Step(rule))
    return Attribution("unknown", trace=tuple(trace))


def funnel(utm_campaign: str, funnels: Sequence[Funnel]) -> str:
    """Return the slug of the funnel that a campaign sells, by the words in its name; else of the default one, or ""."""
    name = normalise(utm_campaign)
    for one in funnels:
        if any(word in name for word in one.words if word):
            return one.slug
    return next((one.slug for one in funnels if one.is_default), "")


def macros(utm: Mapping[str, str]) -> dict[str, str]:
    """Return by UTM name the first macro in it that the advertising system did not replace."""
    return {name: found[0] for name, value in utm.items() if (found := _MACRO.search(value))}
