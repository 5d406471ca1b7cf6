"""What is odd about a list of rules: some can never match, some say of one pattern that it is two people's. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from traffic.attribution import Rule
from webhooks.utm import REFERRAL_PREFIX


def shadowed_rules(rules: Sequence[Rule]) -> dict[int, tuple[Rule, ...]]:
    """Return by id the rules that can never match, each with the earlier ones that always match before it.

    A rule is shadowed when, in each field that it looks at, some earlier rule matches whatever it would match. Without
    earlier ones (an empty tuple) it is a referral link's source that it looks for: that is nobody's in any case.
    """
    shadowed: dict[int, tuple[Rule, ...]] = {}
    for position, rule in enumerate(rules):
        earlier = rules[:position]
        covers: list[Rule] = []
        for field in rule.fields:
            if field == "utm_source" and rule.match != "contains" and rule.pattern.startswith(REFERRAL_PREFIX):
                continue
            cover = next((one for one in earlier if field in one.fields and _covers(one, rule)), None)
            if cover is None:
                break
            covers.append(cover)
        else:
            shadowed[rule.id] = tuple(dict.fromkeys(covers))
    return shadowed


def _covers(earlier: Rule, later: Rule) -> bool:
    """Return whether, in one field, the earlier rule matches every value that the later one matches."""
    if not earlier.pattern:
        return False
    if earlier.match == "contains":
        return earlier.pattern in later.pattern
    if earlier.match == "starts_with":
        return later.match != "contains" and later.pattern.startswith(earlier.pattern)
    return later.match == "equals" and later.pattern == earlier.pattern


def shared_patterns(rules: Sequence[Rule]) -> dict[int, tuple[Rule, ...]]:
    """Return by id the rules whose pattern another targetologist's rule has too, each with those other rules."""
    by_pattern: dict[str, list[Rule]] = {}
    for rule in rules:
        by_pattern.setdefault(rule.pattern, []).append(rule)
    return {
        rule.id: others
        for rule in rules
        if (others := tuple(o for o in by_pattern[rule.pattern] if o.targetologist != rule.targetologist))
    }
