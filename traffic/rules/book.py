"""The rules as they are now, and as they were when something was decided by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.db import connection

from traffic.attribution import Funnel, Rule, Rulebook
from traffic.models import AttributionRule, RuleVersion
from traffic.models import Funnel as FunnelRow
from webhooks.utm import normalise

_KEEP = """
INSERT INTO attribution_rule_versions (digest, rules, funnels) VALUES (%s, %s::jsonb, %s::jsonb)
ON CONFLICT (digest) DO NOTHING
"""


def select_rules() -> list[Rule]:
    """Return the active rules in the order in which they are tried, their patterns normalised."""
    rows = AttributionRule.objects.filter(active=True).values_list(
        "id", "targetologist_id", "field", "match", "pattern", "funnel_id"
    )
    return [Rule(*row[:-2], pattern=normalise(row[-2]), funnel=row[-1] or "") for row in rows]


def select_funnels() -> list[Funnel]:
    """Return the funnels in the order in which they are tried, their words normalised."""
    return [
        Funnel(slug, tuple(filter(None, map(normalise, words.splitlines()))), is_default)
        for slug, words, is_default in FunnelRow.objects.values_list("slug", "words", "is_default")
    ]


def current_rulebook() -> Rulebook:
    """Return the rules and funnels of this moment; their content is kept, once, under the version that it names."""
    return keep_rulebook(select_rules(), select_funnels())


def keep_rulebook(rules: Sequence[Rule], funnels: Sequence[Funnel]) -> Rulebook:
    """Keep these rules and funnels, unless they are kept already, and return them with their version."""
    contents = [json.dumps([asdict(one) for one in part], ensure_ascii=False) for part in (rules, funnels)]
    digest = hashlib.sha256("\n".join(contents).encode()).hexdigest()
    with connection.cursor() as cursor:
        for attempt in (1, 2):
            cursor.execute("SELECT id FROM attribution_rule_versions WHERE digest = %s", [digest])
            if row := cursor.fetchone():
                return Rulebook(tuple(rules), tuple(funnels), row[0])
            if attempt == 1:
                cursor.execute(_KEEP, [digest, *contents])
    raise RuntimeError("The version of the rules that was just kept is gone")


def rulebook_of(version: RuleVersion) -> Rulebook:
    """Return the rules and funnels as they were in a version."""
    funnels = (Funnel(**{**one, "words": tuple(one["words"])}) for one in _list(version.funnels))
    return Rulebook(tuple(Rule(**one) for one in _list(version.rules)), tuple(funnels), version.pk)


def _list(value: Any) -> list[dict[str, Any]]:
    return list(value)
