"""Who would get it? The tester's question, answered by the same function as everybody else's."""

from __future__ import annotations

from collections.abc import Mapping

from traffic.attribution import UTM
from traffic.rules.book import current_rulebook
from traffic.rules.why import Explanation, explain
from webhooks.models import Deal


def look_at(*, utm: Mapping[str, str]) -> Explanation:
    """Return whose a deal with this UTM would be by the rules of this moment, and why."""
    return explain(utm, current_rulebook())


def utm_of_deal(lead_id: int) -> dict[str, str] | None:
    """Return the UTM of a deal as AmoCRM last told it; None for a deal that is not known."""
    row = Deal.objects.filter(pk=lead_id).values(*UTM).first()
    return None if row is None else {name: value for name, value in row.items() if value}
