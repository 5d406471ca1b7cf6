from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.e2e.pages import DESK
from tests.onai_project.rows import make_user
from traffic.models import AttributionRule, Funnel, Targetologist
from traffic.seeds import seed, seed_funnels

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request


@pytest.fixture
def page(browser: Browser, live_server) -> Iterator[Page]:
    """A page of a fresh browser profile; what its console and its network complain of fails the test."""
    context = browser.new_context(base_url=live_server.url, locale="ru-RU", viewport=DESK)
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.extend(failed(request)))
    yield page
    context.close()
    assert complaints == []


def failed(request: Request) -> list[str]:
    """Return the complaint of a request that failed; none where the page itself was left meanwhile."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"{request.url}: {request.failure}"]


@pytest.fixture
def boss(transactional_db: None) -> None:
    make_user("boss", superuser=True)


@pytest.fixture
def targetologists(transactional_db: None) -> None:
    """What a migration made and an earlier test may have emptied."""
    seed(Targetologist, AttributionRule)
    seed_funnels(Funnel)
