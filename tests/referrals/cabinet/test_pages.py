from __future__ import annotations

import csv
import re
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from notifications.models import TelegramChat
from onai_project.money import money
from referrals.cabinet import selectors, urls
from referrals.cabinet.models import LandingPage, LinkedChat, OneTimeToken
from referrals.ledger import OTHER_REFERRER
from referrals.models import CommissionPlan, Conversion
from referrals.payouts.models import BankDetails, Payout, PayoutBatch
from tests.onai_project.rows import make_conversion, make_user
from tests.onai_project.test_locale import english

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def noon():
    with time_machine.travel("2025-12-20T07:00:00Z", tick=False):
        yield


@pytest.fixture
def cabinet(dana, sign_in) -> Client:
    BankDetails.objects.create(referrer=dana, recipient="Дана Тестова", account="+77010000001")
    return sign_in(dana)


def page(client: Client, path: str = "/r/") -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def days_ago(days: int):
    return timezone.now() - timedelta(days=days)


@pytest.fixture
def history(dana, erzhan) -> None:
    """One of Dana's sales in each state, and one of somebody else."""
    make_conversion(101, dana, when=days_ago(2), lead_name="Айдар Нурланов")
    make_conversion(102, dana, when=days_ago(20), sale_amount=Decimal(200_000))
    make_conversion(103, dana, when=days_ago(3), hold_reason="inactive", sale_amount=Decimal(70_000))
    make_conversion(104, dana, when=days_ago(40), state="reversed")
    make_conversion(105, dana, when=days_ago(1), sale_amount=None)
    make_conversion(201, erzhan, when=days_ago(30), lead_name="Чужой Клиент", sale_amount=Decimal(990_000))


def test_the_balance_has_every_tenge_in_one_part(cabinet, dana, history):
    balance = selectors.select_balance(dana)
    parts = (balance.available, balance.waiting, balance.hold, balance.paid)
    assert parts == (Decimal(20_000), Decimal(5_000), Decimal(7_000), Decimal(0))
    assert balance.next_at == Conversion.objects.get(lead_id=101).available_at
    assert balance.next_amount == Decimal(5_000)
    shown = page(cabinet)
    assert all(money(part) in shown for part in parts)
    waiting = " ".join(shown.split("Ожидает</dt>")[1].split("</dd>")[0].split())
    assert "5 000 ₸" in waiting
    assert "1 января 2026" in waiting


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (101, "Станет доступно 1 января 2026: до этого дня клиент может вернуть покупку."),
        (102, "Войдёт в ближайшую выплату."),
        (103, "Приостановлено вместе с вашим участием в программе."),
        (104, ": продажа отменена."),
        (105, "Сумма покупки уточняется"),
    ],
)
def test_each_sale_says_where_its_money_is(cabinet, history, number, words):
    line = page(cabinet, "/r/sales/").split(f"№ {number}")[1].split("</li>")[0]
    assert words in " ".join(line.split())


@pytest.mark.parametrize(
    ("fields", "terms", "words"),
    [
        ({}, None, "На день этой продажи условий не было. Спросите менеджера."),
        ({}, {"value": 10, "first_sale_only": True}, "приносит только первая покупка клиента"),
        ({}, {"value": 0}, "По вашим условиям эта продажа ничего не приносит."),
        ({"sale_amount": None, "rejected": "Сотрудник школы"}, None, "Менеджер отклонил: Сотрудник школы."),
        ({"sale_amount": None, "state": "reversed"}, None, "Покупку отменили до начисления."),
    ],
)
def test_a_sale_that_earns_nothing_says_why(cabinet, dana, fields, terms, words):
    CommissionPlan.objects.all().delete()
    plan = terms and CommissionPlan.objects.create(name="Лето", kind="percent", valid_from="2025-12-01", **terms)
    conversion = make_conversion(1, dana, **{"sale_amount": Decimal(0), **fields})
    Conversion.objects.filter(pk=conversion.pk).update(plan=plan)
    shown = " ".join(page(cabinet, "/r/sales/").split())
    assert words in shown
    assert "К выплате</span>" not in shown


def test_a_sale_that_was_refunded_earns_nothing(cabinet, dana):
    conversion = make_conversion(1, dana, when=days_ago(20))
    conversion.earnings.create(
        referrer=dana, seq=2, kind="reversal", amount=-5000, reason="refund to the customer: передумал",
        available_at=conversion.available_at,
    )  # fmt: skip
    assert "возврат покупателю: передумал." in " ".join(page(cabinet, "/r/sales/?status=nothing").split())
    assert page(cabinet, "/r/sales/?status=available").count("№ ") == 0


def test_the_customer_is_masked(cabinet, history):
    for path in ("/r/", "/r/sales/", "/r/sales.csv"):
        assert "Нурланов" not in page(cabinet, path)
        assert "А••• Н•••" in page(cabinet, path)


@pytest.mark.parametrize("path", ["/r/", "/r/sales/", "/r/sales/?status=available", "/r/sales.csv", "/r/settings/"])
def test_nobody_elses_sale_is_anywhere(cabinet, history, erzhan, path):
    shown = page(cabinet, path)
    assert "201" not in shown.replace("2025", "")
    assert "Ержан" not in shown
    assert "99\u2009000" not in shown


def test_no_parameter_names_another_referrer(cabinet, history, erzhan):
    for name in ("referrer", "referrer_id", "id", "code", "user", "ref"):
        for value in (erzhan.pk, erzhan.code):
            assert "Ч•••" not in page(cabinet, f"/r/sales/?{name}={value}")
            assert "Ержан" not in page(cabinet, f"/r/?{name}={value}")


def test_a_deal_that_went_to_somebody_else_shows_only_ones_own_entries(cabinet, dana, erzhan, sign_in):
    conversion = make_conversion(1, dana)
    Conversion.objects.update(referrer=erzhan, sale_amount=Decimal(61_234))
    conversion.earnings.create(
        referrer=dana, seq=2, kind="reversal", amount=-5000, reason=OTHER_REFERRER, available_at=conversion.available_at
    )
    conversion.earnings.create(
        referrer=erzhan, seq=3, kind="accrual", amount=7777, reason="x", available_at=conversion.available_at
    )
    mine = page(cabinet, "/r/sales/")
    assert "61\u2009234" not in mine
    assert "7\u2009777" not in mine
    assert "сделка перешла к другому рефереру" in mine
    assert "7\u2009777" in page(sign_in(erzhan), "/r/sales/")
    assert "-5\u2009000" not in page(sign_in(erzhan), "/r/sales/")


def test_the_links_carry_the_code_and_can_be_shared(cabinet, course):
    LandingPage.objects.create(title="Старая", url="https://example.kz/old", active=False)
    shown = page(cabinet)
    assert 'value="https://example.kz/course?lang=ru&amp;utm_source=ref_dana#top"' in shown
    assert "https://t.me/share/url?url=https%3A%2F%2Fexample.kz%2Fcourse%3Flang%3Dru%26utm_source%3Dref_dana" in shown
    assert "https://wa.me/?text=" in shown
    assert "Старая" not in shown


def test_the_qr_code_is_drawn_and_can_be_saved(cabinet, course):
    assert '<div class="qr"><svg' in page(cabinet)
    answer = cabinet.get(f"/r/qr/{course.pk}.svg")
    assert answer["Content-Type"] == "image/svg+xml"
    assert answer.content.startswith(b"<svg")
    assert cabinet.get(f"/r/qr/{course.pk + 1}.svg").status_code == 404


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "example.kz"])
def test_a_landing_page_is_an_address_of_the_web(address):
    with pytest.raises(Exception, match="url"):
        LandingPage(title="x", url=address).full_clean()


def test_the_csv_has_the_referrers_own_sales(cabinet, history):
    text = page(cabinet, "/r/sales.csv")
    assert text.startswith("\ufeff")
    rows = list(csv.reader(StringIO(text[1:]), delimiter=";"))
    assert [row[0] for row in rows[1:]] == ["105", "101", "103", "102", "104"]
    assert rows[2][1:6] == ["18.12.2025", "А••• Н•••", "50000", "5000", "Ожидает"]


def test_the_list_is_filtered_and_paged(cabinet, dana, history):
    assert page(cabinet, "/r/sales/?status=hold").count("№ ") == 1
    assert page(cabinet, "/r/sales/?status=nonsense").count("№ ") == 5
    for number in range(1000, 1060):
        make_conversion(number, dana)
    assert page(cabinet, "/r/sales/").count("№ ") == 50
    assert page(cabinet, "/r/sales/?page=2").count("№ ") == 15
    assert page(cabinet, "/r/sales/?page=99").count("№ ") == 15


def test_the_months_are_almatys(dana):
    make_conversion(1, dana, when=timezone.now().replace(month=11, day=30, hour=20))  # 1 December there
    months = selectors.select_months(dana)
    assert len(months) == 12
    assert [(m.first.month, m.earned, m.conversions) for m in months if m.conversions] == [(12, Decimal(5_000), 1)]


def test_the_months_are_drawn(cabinet, dana):
    assert '<svg class="chart"' not in page(cabinet)
    make_conversion(1, dana, sale_amount=Decimal(50_000))
    make_conversion(2, dana, when=days_ago(20), sale_amount=Decimal(100_000))
    chart = page(cabinet).split('<svg class="chart"')[1].split("</svg>")[0]
    bars = re.findall(r"<title>([^<]+)</title>\s*<rect x=\"(\d+)\" y=\"(\d+)\" width=\"30\" height=\"(\d+)\"", chart)
    assert len(bars) == 12
    assert [(title.replace("\u2009", " "), *numbers) for title, *numbers in bars[-2:]] == [
        ("Ноябрь 2025: 10 000 ₸", "510", "0", "120"),
        ("Декабрь 2025: 5 000 ₸", "560", "60", "60"),
    ]
    assert {height for *_, height in bars[:-2]} == {"0"}


def addresses(own: dict[str, int]) -> list[str]:
    """Return every address of the cabinet; `own` has the values of their parameters."""
    found = []
    for pattern in urls.urlpatterns:
        parameters = {name: own[name] for name in pattern.pattern.converters}
        found.append(reverse(f"cabinet:{pattern.name}", kwargs=parameters))
    return found


def test_no_address_shows_anything_of_another_referrer(cabinet, dana, erzhan, course, sign_in, settings):
    """Walked through with all that belongs to Erzhan, in Dana's browser; in his own it is there to be seen."""
    settings.TELEGRAM_BOT_USERNAME = "our_bot"
    other = LandingPage.objects.create(title="Для него", url="https://example.kz/x", active=False)
    BankDetails.objects.create(referrer=erzhan, recipient="Ержан Чужой", account="+77010000002")
    his_chat = TelegramChat.objects.create(chat_id=88, title="Чат Ержана", kind=TelegramChat.Kind.REFERRER)
    LinkedChat.objects.create(referrer=erzhan, chat=his_chat)
    conversion = make_conversion(
        777_201, erzhan, when=days_ago(30), lead_name="Чужой Клиент", sale_amount=Decimal(987_650)
    )
    batch = PayoutBatch.objects.create(cutoff="2025-12-20", minimum=1, created_by=make_user("refs"))
    payout = Payout.objects.create(
        batch=batch, referrer=erzhan, amount=98_765, recipient="Ержан Чужой", account="+77010000002"
    )
    payout.items.create(earning=conversion.earnings.get(), amount=98_765)
    his = ("777201", "98\u2009765", "987\u2009650", "Ч•••", "Чужой", "Ержан", "erzhan", "0002")
    walked = addresses({"number": payout.pk, "page": other.pk})
    assert len(walked) >= 15
    owner = sign_in(erzhan)
    assert any(word in owner.get("/r/").content.decode() for word in his)
    assert owner.get(f"/r/payouts/{payout.pk}/").status_code == 200
    for address in walked:
        # Out at the end: what is signed out sees nothing at all.
        for method in ("get", "post"):
            if "/out/" in address:
                continue
            answer = getattr(cabinet, method)(address)
            assert answer.status_code in (200, 302, 404, 405, 410), address
            shown = answer.content.decode() + str(answer.headers)
            assert [word for word in his if word in shown] == [], address
    for address in walked:
        if "/out/" in address:
            sign_in(dana).post(address)
    erzhan.linked_chat.refresh_from_db()
    linked = erzhan.linked_chat
    assert (linked.chat, linked.accruals, linked.reversals, linked.payouts) == (his_chat, True, True, True)
    assert owner.get("/r/").status_code == 200


def test_the_terms_of_today_are_shown(cabinet, dana):
    CommissionPlan.objects.all().delete()
    assert "Условия на сегодня ещё не заданы" in page(cabinet)
    CommissionPlan.objects.create(name="Лето", kind="percent", value=Decimal("12.5"), valid_from="2025-12-01")
    make_conversion(1, dana)
    shown = page(cabinet)
    assert "12,5\u202f% с каждой продажи по вашей ссылке." in shown
    assert "1 продажа в этом месяце." in shown
    CommissionPlan.objects.update(valid_to="2025-12-01")
    CommissionPlan.objects.create(name="Зима", kind="fixed", value=7000, valid_from="2025-12-01")
    assert "7\u2009000\u2009₸ с каждой продажи" in page(cabinet)


def test_the_tier_that_the_month_has_reached_is_shown_and_what_the_next_one_takes(cabinet, dana):
    CommissionPlan.objects.all().delete()
    rates = {"rate_from_1": 5, "rate_from_3": 7, "rate_from_5": 8, "rate_from_8": 10}
    CommissionPlan.objects.create(name="Лето", kind="percent_tiers", valid_from="2025-12-01", **rates)
    for number in (1, 2, 3):
        make_conversion(number, dana)
    shown = page(cabinet)
    assert "Чем больше продаж за месяц, тем больше приносит каждая из них: 1–2 — 5\u202f%" in shown
    assert "Каждая продажа этого месяца приносит 7\u202f%. Ещё 2 продажи — и каждая принесёт 8\u202f%." in shown


def test_a_newcomer_is_told_what_to_do(cabinet):
    shown = page(cabinet)
    assert "Поделитесь ссылкой: первая продажа появится здесь сама." in shown
    assert "Продаж пока нет." in shown
    assert "Менеджер пока не добавил страниц" in shown


def test_messages_are_switched(cabinet, dana, chat):
    assert page(cabinet, "/r/settings/").count(" checked") == 3
    cabinet.post("/r/settings/messages/", {"reversals": "on"})
    linked = LinkedChat.objects.get()
    assert (linked.accruals, linked.reversals, linked.payouts) == (False, True, False)
    cabinet.post("/r/settings/telegram/off/")
    assert not LinkedChat.objects.exists()


def test_telegram_is_linked_by_a_link_that_is_shown_once(cabinet, settings):
    settings.TELEGRAM_BOT_USERNAME = ""
    assert "Школа ещё не подключила" in page(cabinet, "/r/settings/")
    cabinet.post("/r/settings/telegram/")
    assert not OneTimeToken.objects.filter(purpose="link_chat").exists()
    settings.TELEGRAM_BOT_USERNAME = "our_bot"
    assert "https://t.me/our_bot?start=" in cabinet.post("/r/settings/telegram/").content.decode()
    assert "start=" not in page(cabinet, "/r/settings/")


def test_two_thousand_sales_cost_no_more_queries_than_three(cabinet, dana, course, django_assert_max_num_queries):
    for number in range(60):
        make_conversion(number, dana)
    with django_assert_max_num_queries(15):
        page(cabinet)
    with django_assert_max_num_queries(6):
        page(cabinet, "/r/sales/")


def test_the_content_policy_makes_no_exception(cabinet, course, history):
    answer = cabinet.get("/r/")
    assert "unsafe" not in answer["Content-Security-Policy"]
    shown = answer.content.decode()
    assert "style=" not in shown
    assert "onclick" not in shown
    assert "<style" not in shown


def test_everything_is_in_russian(cabinet, course, history, chat):
    allowed = {"onAI", "Academy", "Telegram", "WhatsApp", "QR", "SVG", "CSV", "ref_aigerim"}
    for path in ("/r/", "/r/sales/", "/r/settings/", "/r/open/?t=x", "/r/nowhere/"):
        answer = cabinet.get(path)
        assert english(answer.content.decode()) <= allowed, path
    assert english(Client().get("/r/in/").content.decode()) <= allowed
