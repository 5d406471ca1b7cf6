"""For all tests: the embedded PostgreSQL, a real browser, the real system as processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from onai_project import database
from tests.system import LET_TABLES_BE_EMPTIED, LiveSystem

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from pytest_django import DjangoDbBlocker

# A busy machine is no failed property.
hypothesis.settings.register_profile(
    "here", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("here")

CHROMIUM = Path("/usr/bin/chromium")


def pytest_configure(config: pytest.Config) -> None:
    """Have the database up for the whole run, in every process of it; nothing to do where DATABASE_URL is set."""
    stack = ExitStack()
    try:
        stack.enter_context(database.running())
    except database.EmbeddedDatabaseError as error:
        pytest.exit(str(error), returncode=1)
    config.add_cleanup(stack.close)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `pytest -m long`."""
    if "long" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="module")  # no longer: Playwright's event loop is in the way of other modules' own
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window. Without Chromium its tests are skipped; in CI they fail."""
    if not CHROMIUM.exists():
        reason = f"no Chromium at {CHROMIUM}: sudo apt install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread; Django would take every query of a test for one inside it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let tests that really commit empty the tables after them."""
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(LET_TABLES_BE_EMPTIED)


@pytest.fixture
def seeded(transactional_db: None) -> None:
    """Targetologists, rules, funnels and the plan: tests that really commit begin with empty tables."""
    # Models can be imported only once Django is set up.
    import referrals.seeds
    import traffic.seeds
    from referrals.models import CommissionPlan
    from traffic.models import AttributionRule, Funnel, Targetologist

    traffic.seeds.seed(Targetologist, AttributionRule)
    traffic.seeds.seed_funnels(Funnel)
    referrals.seeds.seed(CommissionPlan)


@pytest.fixture
def live_system(transactional_db: None, tmp_path: Path) -> Iterator[LiveSystem]:
    """The means to start web servers and workers on this test's database; all are stopped before it is emptied."""
    system = LiveSystem(tmp_path)
    yield system
    system.stop_all()
