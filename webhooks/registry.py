"""What apps contribute for all, in AppConfig.ready(): the doors of the system, and whose a paid campaign is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from webhooks.models import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A URL that AmoCRM posts to. It decides a delivery's source and the answer's words, never who is told."""

    name: str  # last part of the path, and the value of WebhookLog.routing_decision; "" for the account's own
    source: Source
    title: str  # log lines begin with "<title> Webhook"
    message: str  # what GET …/test says
    # What GET …/test says besides, in this order.
    details: Callable[[], dict[str, Any]] = field(default=dict)
    # Whether a deal won in these pipelines (0: unknown), with this utm_source, is the app's business.
    concerns: Callable[[Collection[int], str], bool] = field(default=lambda pipelines, utm_source: False)

    @property
    def path(self) -> str:
        """Return the URL's path, without a trailing slash."""
        return f"/webhook/amocrm/{self.name}".rstrip("/")


_endpoints: dict[str, Endpoint] = {}


def register(endpoint: Endpoint) -> None:
    """Add an app's endpoint. Raises ValueError when its name or source is taken: one handler a URL."""
    for other in _endpoints.values():
        if endpoint.name == other.name or endpoint.source == other.source:
            raise ValueError(f"{endpoint.path} ({endpoint.source}) is registered twice")
    _endpoints[endpoint.name] = endpoint


def endpoints() -> tuple[Endpoint, ...]:
    """Return all endpoints, in the order of registration."""
    return tuple(_endpoints.values())


# utm_campaign → whose paid campaign that is, as people say it; what nobody claims is left out.
CampaignOwners = Callable[[Collection[str]], dict[str, str]]

_campaign_owners: list[CampaignOwners] = []


def register_campaign_owners(owners: CampaignOwners) -> None:
    """Add an app that knows whose paid campaigns are."""
    _campaign_owners.append(owners)


def campaign_owners(campaigns: Collection[str]) -> dict[str, str]:
    """Return of these campaigns (utm_campaign) whose they are; those that nobody claims are left out."""
    named = {campaign for campaign in campaigns if campaign}
    found: dict[str, str] = {}
    for owners in _campaign_owners if named else ():
        found = owners(named) | found
    return found


def doors() -> dict[str, Endpoint]:
    """Return every address that takes deliveries, with and without a trailing slash: AmoCRM follows no redirect."""
    return {f"{endpoint.path}{slash}": endpoint for slash in ("", "/") for endpoint in endpoints()}


register(
    Endpoint(
        name="",
        source=Source.ACCOUNT,
        title="AmoCRM",
        message="AmoCRM webhook endpoint is active",
    )
)
