"""Why a sale is whose it is: the rules that were tried, one by one, as pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from traffic.attribution import UTM, Attribution, Rule, Rulebook, attribute, macros
from traffic.decisions import Outcome, outcome_by_rules, select_decisions
from traffic.models import AttributionRule, Funnel, RuleVersion, Sale, SaleOverride, Targetologist
from traffic.overrides import overrides_of
from traffic.rules.book import current_rulebook, rulebook_of
from webhooks.utm import normalise


@dataclass(frozen=True, slots=True)
class Look:
    """A field that a rule looked at, and the value there, as it is compared."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Line:
    """One rule that was tried."""

    number: int
    match: str
    pattern: str
    who: str
    looks: tuple[Look, ...]
    matched: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A UTM value as it came, and the macro in it that the advertising system did not replace."""

    name: str
    raw: str
    macro: str = ""


@dataclass(slots=True)
class Explanation:
    """Whose a UTM is under some rules, and why."""

    outcome: Outcome
    who: str
    funnel: str
    values: list[Value]
    lines: list[Line]
    not_tried: int
    attribution: Attribution
    # Of a sale: a person's latest word, if it counts; whether its rules are those of today; what today's would say.
    override: SaleOverride | None = None
    history: list[SaleOverride] = field(default_factory=list)
    version_known: bool = True
    today: Explanation | None = None

    @property
    def matched(self) -> Line | None:
        """The rule that decided."""
        return next((line for line in self.lines if line.matched), None)

    @property
    def macros(self) -> list[Value]:
        """The values with a macro in them."""
        return [value for value in self.values if value.macro]


def explain(utm: Mapping[str, str], book: Rulebook) -> Explanation:
    """Return whose a deal with this UTM is under these rules, and the trace of how that was found."""
    people = {person.slug: str(person) for person in Targetologist.objects.all()}
    found = attribute(utm, book.rules)
    outcome = outcome_by_rules(tuple(utm.get(name, "") for name in UTM), book)
    unreplaced = macros(utm)
    return Explanation(
        outcome=outcome,
        who=owner_name(outcome, people),
        funnel=funnel_name(outcome.funnel_type),
        values=[Value(name, utm[name], unreplaced.get(name, "")) for name in UTM if utm.get(name)],
        lines=[
            _line(number, step.rule, utm, people, bool(step.field)) for number, step in enumerate(found.trace, start=1)
        ],
        not_tried=len(book.rules) - len(found.trace),
        attribution=found,
    )


def explain_sale(sale: Sale) -> Explanation:
    """Return why a sale is whose it is: by the rules as they were when it was decided, and by people's words."""
    utm = {name: getattr(sale, name) for name in UTM}
    decision = select_decisions([sale.lead_id]).get(sale.lead_id)
    version = decision.outcome.version if decision else None
    now = current_rulebook()
    book = now if version in (None, now.version) else rulebook_of(RuleVersion.objects.get(pk=version))
    explanation = explain(utm, book)
    explanation.version_known = version is not None
    explanation.history = list(overrides_of(sale.lead_id))
    latest = explanation.history[0] if explanation.history else None
    if latest is not None and latest.action != SaleOverride.Action.RELEASE:
        explanation.override = latest
    if book is not now:
        today = explain(utm, now)
        if today.outcome.shown[:2] != explanation.outcome.shown[:2]:
            explanation.today = today
    return explanation


def owner_name(outcome: Outcome, people: Mapping[str, str]) -> str:
    """Return whose it is, in the words of the pages."""
    if outcome.targetologist is not None:
        return people.get(outcome.targetologist, outcome.targetologist)
    return str(Sale.Channel(outcome.channel).label)


def funnel_name(slug: str) -> str:
    """Return how a funnel is called; its slug where it was deleted."""
    return Funnel.objects.filter(pk=slug).values_list("name", flat=True).first() or slug


def _line(number: int, rule: Rule, utm: Mapping[str, str], people: Mapping[str, str], matched: bool) -> Line:
    looks = tuple(Look(name, normalise(utm.get(name, ""))) for name in rule.fields)
    match = str(AttributionRule.Match(rule.match).label)
    return Line(number, match, rule.pattern, people.get(rule.targetologist, rule.targetologist), looks, matched)
