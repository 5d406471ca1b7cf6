"""What traffic takes from webhooks: its endpoint and the deals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.dispatch import receiver

from traffic.attribution import attribute
from traffic.models import Targetologist
from traffic.pipelines import concerns_sales, watched_pipelines
from traffic.rules.book import current_rulebook
from traffic.sales import converge_sales
from webhooks.merge import DealState
from webhooks.models import Source
from webhooks.registry import Endpoint, register, register_campaign_owners
from webhooks.signals import deal_by_deal_on_failure, deals_changed


@receiver(deals_changed)
@deal_by_deal_on_failure
def keep_sales(deals: Sequence[DealState], *, live: bool) -> None:
    """Sales follow deals."""
    converge_sales(deals, live=live)


def _details() -> dict[str, Any]:
    pipelines = list(watched_pipelines())
    return {
        "pipeline": pipelines[0] if len(pipelines) == 1 else pipelines,
        "targetologists": list(Targetologist.objects.filter(active=True).values_list("name", flat=True)),
    }


def _concerns(pipelines: Collection[int], utm_source: str) -> bool:
    return concerns_sales(pipelines)


def _campaign_owners(campaigns: Collection[str]) -> dict[str, str]:
    """Return whose campaigns these are by the rules, whatever the sales' other UTM say."""
    rules = current_rulebook().rules
    owners = {name: attribute({"utm_campaign": name}, rules).targetologist for name in campaigns}
    people = {
        person.slug: str(person) for person in Targetologist.objects.filter(slug__in=filter(None, owners.values()))
    }
    return {name: people[slug] for name, slug in owners.items() if slug is not None}


register_campaign_owners(_campaign_owners)
register(
    Endpoint(
        name="traffic",
        source=Source.TRAFFIC,
        title="Traffic",
        message="Traffic Dashboard webhook endpoint is active",
        details=_details,
        concerns=_concerns,
    )
)
