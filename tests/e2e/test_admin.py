"""The main paths in a real browser. Any CSP error, script error or failed request on a page fails the test."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib import admin
from django.urls import reverse
from django.utils import timezone

from onai_project import roles
from referrals.models import Conversion, Referrer
from tests.e2e.pages import DESK, PHONE, sign_in, too_wide
from tests.onai_project.rows import make_conversion, make_delivery, make_sale, make_user
from traffic.models import Sale, Targetologist

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_person_signs_in_and_sees_the_sale_on_the_dashboard(page, boss, targetologists):
    make_sale(
        30_000_001,
        utm_campaign="tripwire",
        lead_name="Курс «AI с нуля»",
        targetologist=Targetologist.objects.get(slug="kenesary"),
    )
    sign_in(page)
    page.get_by_role("link", name="Дашборд трафика").first.click()
    page.get_by_role("link", name="Курс «AI с нуля»").click()
    assert page.get_by_role("link", name="30000001 ↗").get_attribute("href").endswith("/leads/detail/30000001")


def test_the_dashboard_is_filtered_by_dates_and_the_address_holds_them(page, boss):
    make_sale(1, utm_campaign="tripwire", lead_name="Сегодняшняя")
    make_sale(2, utm_campaign="tripwire", lead_name="Давняя", when=timezone.now() - timedelta(days=60))
    day = timezone.localdate(Sale.objects.get(lead_id=2).sale_date).isoformat()
    sign_in(page)
    page.goto(reverse("traffic-dashboard"))
    assert page.get_by_text("Давняя").count() == 0
    page.fill("[name=from]", day)
    page.fill("[name=to]", day)
    page.get_by_role("button", name="Показать").click()
    page.get_by_text("Давняя").wait_for()
    assert page.get_by_text("Сегодняшняя").count() == 0
    assert f"from={day}&to={day}" in page.url
    page.get_by_role("link", name="Сегодня", exact=True).click()
    page.get_by_text("Сегодняшняя").wait_for()


def test_the_chart_is_drawn_and_has_a_table_behind_it(page, boss):
    make_sale(1)
    sign_in(page)
    page.goto(reverse("traffic-dashboard") + "?period=today")
    drawn = page.evaluate(
        "() => { const c = document.querySelector('canvas.chart');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0) }"
    )
    assert drawn
    page.get_by_text("Таблицей").click()
    assert page.get_by_role("row").filter(has_text="100\u2009000\u2009₸").first.is_visible()


def test_a_delivery_is_read_and_processed_again(page, boss):
    delivery = make_delivery(31)
    sign_in(page)
    page.goto(reverse("admin:webhooks_webhookdelivery_change", args=[delivery.pk]))
    page.get_by_text("leads[status][0][name] = Курс").wait_for()
    page.get_by_role("link", name="Обработать заново").click()
    with page.expect_navigation():
        page.locator("#dialog").get_by_role("button", name="Обработать заново").click()
    page.get_by_text("1 доставка будет обработана заново прямо сейчас.").wait_for()
    delivery.refresh_from_db()
    assert delivery.status == "received"


def test_deliveries_are_chosen_in_the_list_and_processed_again(page, boss):
    deliveries = [make_delivery(n) for n in range(3)]
    sign_in(page)
    page.goto(reverse("admin:webhooks_webhookdelivery_changelist"))
    for box in page.locator("input.action-select").all()[:2]:
        box.check()
    page.select_option("[name=action]", "process_again")
    page.get_by_role("button", name="Выполнить").click()
    page.get_by_text("2 доставки будут обработаны заново прямо сейчас.").wait_for()
    for delivery in deliveries:
        delivery.refresh_from_db()
    assert [delivery.status for delivery in deliveries] == ["dead", "received", "received"]


def test_a_list_is_filtered_by_days_in_the_filters_form(page, boss):
    make_sale(1, utm_campaign="tripwire", lead_name="Сегодняшняя")
    make_sale(2, lead_name="Давняя", when=timezone.now() - timedelta(days=60))
    day = timezone.localdate(Sale.objects.get(lead_id=2).sale_date).strftime("%d.%m.%Y")
    sign_in(page)
    page.goto(reverse("admin:traffic_sale_changelist"))
    page.locator("a", has_text="Фильтры").first.click()
    page.fill("[name=sale_date_from]", day)
    page.fill("[name=sale_date_to]", day)
    page.get_by_role("button", name="Применить").click()
    page.wait_for_url("**sale_date_from**")
    assert page.get_by_role("link", name="Давняя").is_visible()
    assert page.get_by_role("link", name="Сегодняшняя").count() == 0


def test_a_targetologist_has_a_short_sidebar_and_their_own_sales(page, targetologists):
    roles.create_roles()
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    make_sale(1, utm_campaign="tripwire", lead_name="Моя", targetologist=Targetologist.objects.get(slug="muha"))
    make_sale(2, lead_name="Чужая", targetologist=Targetologist.objects.get(slug="kenesary"))
    page.set_viewport_size(PHONE)
    sign_in(page, "muha")
    page.goto(reverse("traffic-dashboard"))
    page.get_by_role("link", name="Моя", exact=True).wait_for()
    assert page.get_by_text("Чужая").count() == 0
    # The dashboard, sales, ad spend, messages.
    assert page.locator("#nav-sidebar-apps li").count() == 4


def test_on_a_phone_the_sums_fit_and_the_rest_scrolls_beside_the_name(page, boss, targetologists):
    muha = Targetologist.objects.get(slug="muha")
    make_sale(1, utm_campaign="tripwire_17.12", sale_amount=Decimal(212_490_000), targetologist=muha)
    make_sale(2, utm_campaign="arystan_lookalike_2pct_almaty_astana_women_25_44")
    page.set_viewport_size(PHONE)
    sign_in(page)
    page.goto(reverse("traffic-dashboard"))
    for section in ("#lines", "#parts"):
        table = page.locator(f"{section} .panel-scroll")
        edge = table.bounding_box()["x"] + table.bounding_box()["width"]
        for name, count, revenue in (row.locator("th, td").all()[:3] for row in table.locator("tr").all()):
            assert revenue.bounding_box()["x"] + revenue.bounding_box()["width"] <= edge
            before = name.bounding_box()["x"]
            table.evaluate("scroller => { scroller.scrollLeft = 150 }")
            assert name.bounding_box()["x"] == before
            assert count.bounding_box()["x"] < before
            table.evaluate("scroller => { scroller.scrollLeft = 0 }")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_page_breaks_the_policy_or_scrolls_sideways(page, boss, targetologists, size, theme):
    """Every list and form, one row of each, the dashboards, with rows and without."""
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size(size)
    sign_in(page)
    for name in ("traffic-dashboard", "referral-dashboard"):
        page.goto(reverse(name))
        assert too_wide(page) == [], name
    delivery = make_delivery(31)
    sale = make_sale(31, utm_campaign="очень_длинная_кампания_" * 8, lead_name="Длинное название " * 12)
    make_conversion(31, Referrer.objects.create(code="ref_" + "x" * 80))
    pages = [
        reverse("admin:index"),
        reverse("traffic-dashboard"),
        reverse("referral-dashboard"),
        reverse("admin:password_change"),
        reverse("admin:webhooks_webhookdelivery_change", args=[delivery.pk]),
        reverse("admin:traffic_sale_change", args=[sale.pk]),
        reverse("admin:referrals_conversion_change", args=[Conversion.objects.get().pk]),
        reverse("admin:traffic_attributionrule_add"),
        reverse("admin:referrals_referrer_add"),
        reverse("admin:auth_user_add"),
    ]
    pages += [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in admin.site._registry
    ]
    for url in pages:
        answer = page.goto(url)
        assert answer.status == 200, url
        assert too_wide(page) == [], url


def test_a_page_that_does_not_exist_is_styled(browser, live_server):
    context = browser.new_context(base_url=live_server.url)
    page = context.new_page()
    assert page.goto("/no-such-page").status == 404
    assert page.get_by_role("heading", name="Такой страницы нет").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('main')).textAlign") == "center"
    context.close()
