"""A referrer's money from the link to the deduction, in a real browser, with a manager in another one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from onai_project import roles
from referrals.cabinet import tokens
from referrals.cabinet.models import LandingPage, OneTimeToken
from referrals.models import Conversion, Earning, Referrer
from referrals.payouts.models import BankDetails, Payout
from tests import bodies
from tests.onai_project.rows import make_user
from webhooks import inbox
from webhooks.models import WebhookDelivery

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}
# The sale was three weeks ago: its hold of a fortnight is over.
SOLD = int(time.time()) - 21 * 24 * 3600


@pytest.fixture
def open_page(browser: Browser, live_server) -> Iterator[Callable[..., Page]]:
    """Return a maker of pages, each of a browser of its own; what consoles and networks complain of fails the test."""
    complaints: list[str] = []
    contexts = []

    def make(size: ViewportSize, *, script: bool = True) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            locale="ru-RU",
            viewport=size,
            permissions=["clipboard-read", "clipboard-write"],
            java_script_enabled=script,
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def tell(lead_id: int, **fields: Any) -> None:
    """Let AmoCRM tell of a deal, and the worker hear of it."""
    body = bodies.hook(lead_id, **{"at": SOLD, "price": 100_000, "utm_source": "ref_dana", **fields})
    WebhookDelivery.objects.create(source="amocrm_referral", body=body, content_type=bodies.FORM)
    while inbox.process_due():
        pass


def words(page: Page) -> str:
    return " ".join(page.locator("main").inner_text().split())


def pay_all(office: Page) -> int:
    """Make a batch of today, confirm it, note it as paid; return the number of its payout."""
    office.goto("/admin/payouts/payoutbatch/add/")
    office.get_by_role("button", name="Сохранить", exact=True).click()
    office.get_by_role("button", name=re.compile("Подтвердить: выплатить")).click()
    office.get_by_text("Подтверждена 1 выплата.").wait_for()
    office.get_by_text("Переведено всё").click()
    office.get_by_role("button", name="Отметить: выплачено").click()
    office.get_by_text("Отмечена выплаченной 1 выплата.").wait_for()
    return Payout.objects.latest("pk").pk


def test_from_the_link_to_the_deduction(open_page, live_server, settings):
    settings.SITE_URL = live_server.url
    roles.create_roles()
    make_user("refs", role=roles.REFERRAL_MANAGER)
    dana = Referrer.objects.create(code="ref_dana", name="Дана")
    BankDetails.objects.create(referrer=dana, recipient="Дана Тестова", account="+77010000001")
    LandingPage.objects.create(title="Курс", url="https://example.kz/course")

    # The manager makes a sign-in link, the referrer opens it on her phone.
    office, phone = open_page(DESK), open_page(PHONE)
    office.goto("/admin/login/")
    office.fill("[name=username]", "refs")
    office.fill("[name=password]", "a-good-password")
    office.click("#login-form button[type=submit]")
    office.wait_for_url("**/admin/")
    office.goto(f"/admin/cabinet/cabinet/{dana.pk}/link/")
    office.locator("form[method=post] button").last.click()
    link = re.search(r"http://[^\s\"<]+/r/open/\?t=[\w-]+", office.content().replace("&amp;", "&"))
    assert link is not None
    phone.goto(link[0])
    phone.get_by_role("button").first.click()
    phone.get_by_text("Здравствуйте, Дана!").wait_for()

    # She copies her link, somebody buys by it.
    phone.get_by_role("button", name="Скопировать").click()
    assert phone.evaluate("navigator.clipboard.readText()") == "https://example.kz/course?utm_source=ref_dana"
    tell(101, name="Айдар Нурланов", utm_campaign="tripwire_17.12")
    phone.reload()
    assert "А••• Н•••" in words(phone)
    assert "Ждёт, пока менеджер подтвердит, что этот код ваш." in words(phone)

    # The manager says whose code it is. The campaign is a targetologist's, too: that is for a person to judge.
    office.goto(f"/admin/referrals/referrer/{dana.pk}/change/")
    office.check("[name=claimed]")
    office.get_by_role("button", name="Сохранить", exact=True).click()
    office.wait_for_url("**/admin/referrals/referrer/")
    phone.reload()
    assert "Удержано: покупатель пришёл и по нашей рекламе." in words(phone)
    assert "На проверке 10 000 ₸" in words(phone)

    # The manager releases it: the money is free.
    office.goto("/admin/referrals/dashboard/")
    office.locator("section[aria-labelledby=held]").get_by_role("link", name="Айдар Нурланов").click()
    office.get_by_role("link", name="Снять удержание").click()
    office.get_by_role("button", name="Снять удержание").click()
    office.get_by_text("Решение принято и записано.").wait_for()
    phone.reload()
    assert "К выплате 10 000 ₸" in words(phone)
    assert "Войдёт в ближайшую выплату." in words(phone)

    # … and pays.
    first = pay_all(office)
    phone.goto("/r/sales/")
    assert f"выплата № {first}." in words(phone)
    phone.goto("/r/payouts/")
    assert f"Выплата № {first} 10 000 ₸" in words(phone)
    phone.goto("/r/")
    assert "К выплате 0 ₸" in words(phone)
    assert "Выплачено 10 000 ₸" in words(phone)

    # The customer returns the purchase.
    tell(101, status=bodies.LOST, at=int(time.time()) - 3600)
    phone.goto("/r/")
    assert "10 000 ₸ вычтем" in words(phone)
    assert "продажа отменена" in words(phone)

    # The next batch nets it.
    tell(102, price=300_000, name="Мария Иванова")
    second = pay_all(office)
    assert Payout.objects.get(pk=second).amount == 20_000
    phone.goto("/r/sales/")
    told = words(phone)
    assert f"Вычтено в выплате № {second}." in told
    assert f"выплата № {second}." in told
    phone.goto("/r/payouts/")
    phone.get_by_role("link", name="Из чего она состоит").first.click()
    statement = words(phone)
    assert "-10 000 ₸" in statement
    assert "К выплате 20 000 ₸" in statement
    assert sum(Earning.objects.values_list("amount", flat=True)) == 30_000
    assert Conversion.objects.get(lead_id=101).state == "reversed"
    assert Payout.objects.get(pk=second).paid_on == timezone.localdate()


def test_it_works_without_javascript(open_page, live_server, settings):
    settings.SITE_URL = live_server.url
    dana = Referrer.objects.create(code="ref_dana", name="Дана", claimed=True)
    LandingPage.objects.create(title="Курс", url="https://example.kz/course")
    tell(101, name="Айдар Нурланов")
    token = tokens.token_issue(referrer=dana, purpose=OneTimeToken.Purpose.SIGN_IN)
    phone = open_page(PHONE, script=False)
    phone.goto(f"/r/open/?t={token}")
    phone.get_by_role("button").first.click()
    assert phone.get_by_role("textbox", name="Курс").input_value() == "https://example.kz/course?utm_source=ref_dana"
    assert not phone.get_by_role("button", name="Скопировать").is_visible()
    assert "https://wa.me/" in str(phone.get_by_role("link", name="WhatsApp").get_attribute("href"))
    phone.get_by_text("QR-код").click()
    assert phone.locator(".qr svg").is_visible()
    phone.get_by_text("Таблицей").click()
    assert "10 000 ₸" in " ".join(phone.locator("tbody tr").first.inner_text().split())
    phone.get_by_role("link", name="Продажи", exact=True).click()
    phone.get_by_role("link", name="К выплате").click()
    assert "А••• Н•••" in words(phone)
    phone.get_by_role("link", name="Уточняется").click()
    assert "А••• Н•••" not in words(phone)
    phone.get_by_role("link", name="Настройки").click()
    phone.get_by_role("button", name="Выйти", exact=True).click()
    phone.goto("/r/")
    assert phone.url.endswith("/r/in/")
