"""The Traffic Dashboard on a phone, with no sales, a few and many: nothing is cut; sorting and drilling down."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.e2e.pages import PHONE, sign_in, too_wide
from traffic.models import AdSpend, Sale

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [
    pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("boss", "targetologists"),
]  # fmt: skip

SLUGS = ("kenesary", "arystan", "muha", "traf4", None)


def sell(count: int) -> None:
    """Make sales of the last days, of everybody and of nobody, some with names that are hard to place."""
    now = timezone.now()
    Sale.objects.bulk_create(
        Sale(
            lead_id=number,
            lead_name=f"Сделка {number} " + "Оченьдлинноеимябезпробелов" * (number % 3),
            sale_amount=Decimal(1_234_567 + number) if number % 7 else None,
            pipeline_id=10418746,
            utm_campaign=f"кампания_{number % 60}_" + "x" * (number % 5 * 20),
            utm_source="facebook" if number % 2 else "",
            targetologist_id=SLUGS[number % 5],
            channel="targetologist" if SLUGS[number % 5] else "unknown",
            funnel_type="express",
            state="reversed" if number % 11 == 10 else "won",
            sale_date=now - timedelta(hours=number % 150),
        )
        for number in range(count)
    )
    if count:
        AdSpend.objects.create(date=timezone.localdate(), targetologist_id="muha", campaign="", amount=987_654_321)


def cut(page: Page) -> list[str]:
    """Return the elements of the dashboard whose text does not fit and can't be scrolled to."""
    elements: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('.panel, .panel *')].filter(e => {"
        " const style = getComputedStyle(e);"
        " return e.scrollWidth > e.clientWidth + 1 && e.clientWidth && style.display !== 'inline'"
        " && (['hidden', 'clip'].includes(style.overflowX) || style.textOverflow === 'ellipsis') })"
        ".map(e => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`)"
    )
    return elements


def spilled(page: Page) -> list[str]:
    """Return the cards that something stands out of: a number wider than its card covers its neighbour."""
    elements: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('.panel-card, .panel-totals dd, .panel-pill, .panel-chip')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth)"
        ".map(e => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`)"
    )
    return elements


@pytest.mark.parametrize("count", [0, 3, 300])
def test_nothing_is_cut_on_a_phone(page, count):
    sell(count)
    page.set_viewport_size(PHONE)
    sign_in(page)
    for query in ("", "?period=last_month", "?period=30days&campaign=" + "x" * 200, "?show=lacking"):
        for name in ("traffic-dashboard", "traffic-dashboard-sales"):
            assert page.goto(reverse(name) + query).status == 200
            page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
            assert (too_wide(page), cut(page), spilled(page)) == ([], [], []), name + query


def test_a_table_is_sorted_and_a_campaign_drilled_into_down_to_the_deal(page):
    sell(300)
    page.set_viewport_size(PHONE)
    sign_in(page)
    page.goto(reverse("traffic-dashboard"))
    parts = page.get_by_role("region", name="По кампаниям")
    parts.get_by_role("link", name="Кампания", exact=True).click()
    page.wait_for_url("**parts_sort=name**")
    assert parts.get_by_role("columnheader", name="Кампания").get_attribute("aria-sort") == "ascending"
    names = [row.inner_text() for row in parts.locator("tbody th").all()]
    assert len(names) == 50
    assert names == sorted(names, key=str.casefold)
    sales = int(parts.locator("tbody tr").first.locator("td").first.inner_text())
    parts.get_by_role("link", name=names[0]).click()
    page.locator(".panel-chip", has_text=names[0]).wait_for()
    card = page.locator(".panel-totals .panel-card", has_text="Продажи").first
    assert card.locator("dd").first.inner_text() == str(sales)
    latest = page.get_by_role("region", name="Последние продажи")
    assert latest.locator("tbody tr").count() == sales
    link = latest.get_by_role("link", name="↗").first
    assert "/leads/detail/" in link.get_attribute("href")
    assert "parts_sort=name" in page.url
    latest.locator("tbody tr").first.get_by_role("link").first.click()
    page.wait_for_url("**/traffic/sale/*/change/")
