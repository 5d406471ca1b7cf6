"""The rules, the tester, the queue and a re-attribution as the head of traffic uses them, in a real browser."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from django.utils import timezone

from tests import bodies
from tests.e2e.pages import DESK, PHONE, sign_in, too_wide
from tests.onai_project.rows import make_sale
from tests.system import LiveSystem
from traffic.models import AttributionRule, ReattributionRun, Sale, Targetologist
from webhooks import inbox
from webhooks.models import WebhookDelivery

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [
    pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("boss", "targetologists"),
]  # fmt: skip

# Milliseconds in which the page notices where a hand is.
A_MOMENT = 150
NEVER = "Не сработает никогда"


def rule_row(page: Page, pattern: str) -> Locator:
    return page.locator("#result_list tbody").filter(has=page.get_by_role("link", name=pattern, exact=True))


def drag(page: Page, what: Locator, onto: Locator) -> None:
    """Drag a row by its handle to the place of another, as a hand does: down, a little, there, up; and no faster."""
    start, end = what.bounding_box(), onto.bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2 - 8, steps=3)
    page.wait_for_timeout(A_MOMENT)
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + 4, steps=15)
    page.wait_for_timeout(A_MOMENT)
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + 2, steps=3)
    page.wait_for_timeout(A_MOMENT)
    page.mouse.up()


def test_rules_are_put_in_order_by_dragging(page):
    AttributionRule.objects.all().delete()
    for order, (slug, pattern) in enumerate((("kenesary", "tripwire"), ("muha", "onai"), ("arystan", "tripwire_17"))):
        AttributionRule.objects.create(order=10 * order, targetologist_id=slug, pattern=pattern)
    sign_in(page)
    page.goto(reverse("admin:traffic_attributionrule_changelist"))
    assert NEVER in rule_row(page, "tripwire_17").inner_text()
    handles = [rule_row(page, pattern).locator("[x-sort\\:handle]") for pattern in ("tripwire_17", "tripwire")]
    drag(page, *handles)
    page.get_by_role("button", name="Сохранить").click()
    page.get_by_text("успешно изменен").wait_for()
    assert list(AttributionRule.objects.values_list("pattern", flat=True)) == ["tripwire_17", "tripwire", "onai"]
    assert NEVER not in page.locator("#result_list").inner_text()


def test_a_rule_is_made_from_a_group_and_its_old_sales_are_moved_by_the_worker(page, live_system: LiveSystem):
    for number in range(3):
        make_sale(number + 1, utm_campaign="Весна 2026", utm_source="facebook", utm_medium="cpc")
    make_sale(9, utm_campaign="другая", utm_source="vk")
    sign_in(page)
    page.goto(reverse("traffic-unattributed"))
    page.get_by_role("link", name="Весна 2026").click()
    page.get_by_role("heading", name="3 продажи").wait_for()
    form = page.locator("section").filter(has=page.get_by_role("heading", name="Или создать правило"))
    form.get_by_label("Таргетолог").select_option("muha")
    assert form.get_by_label("Образец").input_value() == "Весна 2026"
    form.get_by_role("button", name="Посмотреть, что изменится").click()
    preview = page.locator("#preview")
    assert "Muha" in preview.get_by_role("row").nth(1).inner_text()
    assert "300\u2009000\u2009₸" in preview.get_by_role("row").nth(1).inner_text()
    assert not AttributionRule.objects.filter(pattern="Весна 2026").exists()
    page.get_by_role("button", name="Сохранить правило").click()
    page.get_by_text("Правило сохранено").wait_for()
    assert Sale.objects.filter(targetologist=None).count() == 4  # nothing moved by itself
    live_system.start_worker()
    page.get_by_role("button", name="Пересчитать 3 продажи").click()
    page.get_by_role("heading", name="Готово").wait_for()
    assert dict(Sale.objects.values_list("lead_id", "targetologist_id")) == {1: "muha", 2: "muha", 3: "muha", 9: None}
    page.goto(reverse("traffic-unattributed"))
    page.get_by_role("link", name="другая").wait_for()
    assert page.get_by_role("link", name="Весна 2026").count() == 0


def test_a_group_is_given_to_somebody(page):
    for number in range(2):
        make_sale(number + 1, utm_campaign="Весна 2026")
    sign_in(page)
    page.goto(reverse("traffic-unattributed"))
    page.get_by_role("link", name="Весна 2026").click()
    form = page.locator("section").filter(has=page.get_by_role("heading", name="Отдать эти продажи"))
    form.get_by_label("Чья продажа").select_option("arystan")
    form.get_by_label("Причина").fill("Его объявление, видно по чату")
    form.get_by_role("button", name="Отдать").click()
    page.get_by_text("У каждой продажи есть таргетолог").wait_for()
    assert set(Sale.objects.values_list("targetologist_id", flat=True)) == {"arystan"}


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_tester_says_who_would_get_it_and_why(page, size):
    page.set_viewport_size(size)
    at = int(timezone.now().timestamp())
    body = bodies.hook(30_000_007, at=at, price=100_000, utm_campaign="zzz", utm_source="alex")
    WebhookDelivery.objects.create(source="amocrm_traffic", body=body, content_type=bodies.FORM)
    while inbox.process_due():
        pass
    sign_in(page)
    page.goto(reverse("traffic-tester"))
    page.get_by_label("UTM или ссылка").fill("https://onai.academy/?utm_source=fb&utm_campaign=Arystan_16.12")
    page.get_by_role("button", name="Проверить").click()
    answer = page.locator("section").filter(has=page.get_by_role("heading", name="По нынешним правилам"))
    assert "Arystan" in answer.inner_text()
    assert "«arystan»" in answer.inner_text()
    assert page.locator("tr.panel-hit").count() == 1
    page.get_by_label("UTM или ссылка").fill("")
    page.get_by_label("номер сделки").fill("30000007")
    page.get_by_role("button", name="Проверить").click()
    page.get_by_role("link", name="Продажа по этой сделке").wait_for()
    assert "Traf4" in answer.inner_text()
    assert too_wide(page) == []
    assert Sale.objects.get().targetologist_id == "traf4"


@pytest.mark.processes
def test_a_run_outlives_its_worker_and_is_undone(page, live_system: LiveSystem):
    """kill -9 of the worker in the middle: what was done stays, another worker does the rest, nothing twice."""
    count = 20_000
    now = timezone.now()
    Sale.objects.bulk_create(
        Sale(
            lead_id=number, lead_name=f"Сделка {number}", sale_amount=Decimal(100_000), pipeline_id=10418746,
            utm_campaign=f"kenji_{number % 500}", targetologist_id="arystan", channel="targetologist",
            funnel_type="express", state="won", sale_date=now - timedelta(days=number % 30),
        )
        for number in range(1, count + 1)
    )  # fmt: skip
    sign_in(page)
    since = timezone.localdate() - timedelta(days=31)
    page.goto(f"{reverse('admin:traffic_reattributionrun_add')}?from={since}&to={timezone.localdate()}")
    page.get_by_label("Причина").fill("Кампании kenji передали")
    page.get_by_role("button", name=re.compile("^Пересчитать 20000|^Пересчитать 20.000")).click()
    page.get_by_role("heading", name="Ожидает").wait_for()  # no worker runs yet: the page waits for nobody
    worker = live_system.start_worker()
    run = wait_for_run(lambda run: run.looked_at > 0)
    live_system.kill(worker)
    run.refresh_from_db()
    assert run.state == "running"
    assert 0 < run.looked_at < count
    assert Sale.objects.filter(targetologist=Targetologist.objects.get(slug="kenesary")).count() == run.moved
    page.get_by_text(re.compile(r"\d+ / 20\d*")).wait_for()
    ReattributionRun.objects.update(active_at=now - timedelta(minutes=2))
    page.get_by_text("остальное продолжится само").wait_for()
    live_system.start_worker()
    page.get_by_role("button", name="Продолжить").click()
    page.get_by_role("heading", name="Готово").wait_for(timeout=60_000)
    run.refresh_from_db()
    assert (run.looked_at, run.moved, str(run.author)) == (count, count, "boss")
    assert run.moves.count() == count
    page.get_by_role("button", name="Отменить этот пересчёт").click()
    page.get_by_role("heading", name="Отменён").wait_for(timeout=60_000)
    assert Sale.objects.filter(targetologist_id="arystan").count() == count


def wait_for_run(condition) -> ReattributionRun:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        run = ReattributionRun.objects.get()
        if condition(run):
            return run
        time.sleep(0.02)
    raise AssertionError("the worker did nothing")
