"""What a referrer sees of their payouts, and that it is nobody else's."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from referrals.cabinet import selectors, wording
from referrals.cabinet.models import CabinetMessage
from referrals.cabinet.selectors import Balance, Sale
from referrals.cabinet.wording import date_text
from referrals.models import Conversion, Referrer
from referrals.payouts import batches
from referrals.payouts.models import BankDetails, Payout
from referrals.status import Status, page_with_status, status_sentence
from tests.onai_project.rows import make_user
from tests.referrals.payouts.conftest import IBAN, confirm, due_conversion, pay, take_back, today

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(db):
    return make_user("refs")


@pytest.fixture
def dana(dana):
    BankDetails.objects.create(referrer=dana, recipient="Дана Тестова", account=IBAN)
    return dana


@pytest.fixture
def cabinet(dana, sign_in) -> Client:
    return sign_in(dana)


def words(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    # Thin spaces become plain ones, too.
    return " ".join(answer.content.decode().split())


def sale_of(referrer, lead_id: int) -> Sale:
    (sale,) = selectors.sales_of(referrer, [Conversion.objects.get(lead_id=lead_id).pk])
    return sale


def start(manager) -> Payout:
    batch = batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager)
    return confirm(batch, manager)[0]


def test_a_sale_is_in_a_payout_and_then_paid(cabinet, dana, manager):
    due_conversion(101, dana)
    payout = start(manager)
    assert selectors.select_balance(dana) == Balance(in_payout=Decimal(10_000))
    assert f"В выплате № {payout.pk}: деньги уже в пути." in words(cabinet, "/r/sales/?status=in_payout")
    assert "10 000 ₸ уже в пути." in words(cabinet, "/r/")
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    assert selectors.select_balance(dana) == Balance(paid=Decimal(10_000))
    assert f", выплата № {payout.pk}." in words(cabinet, "/r/sales/?status=paid")
    assert "№ 101" not in words(cabinet, "/r/sales/?status=in_payout")


def test_taken_back_after_the_payment_is_told_and_then_deducted(cabinet, dana, manager):
    conversion = due_conversion(101, dana)
    pay(manager)
    take_back(conversion)
    assert selectors.select_balance(dana) == Balance(paid=Decimal(10_000), available=Decimal(-10_000))
    assert "10 000 ₸ вычтем из следующей выплаты" in words(cabinet, "/r/sales/?status=reversed")
    due_conversion(102, dana, 300_000)
    (second,) = pay(manager)
    assert selectors.select_balance(dana) == Balance(paid=Decimal(30_000))
    assert f"Вычтено в выплате № {second.pk}." in words(cabinet, "/r/sales/?status=reversed")
    statement = words(cabinet, f"/r/payouts/{second.pk}/")
    assert "-10 000 ₸" in statement
    assert "20 000 ₸" in statement


def test_won_again_after_it_was_deducted_waits_once_more(dana, manager):
    conversion = due_conversion(101, dana)
    pay(manager)
    take_back(conversion)
    due_conversion(102, dana, 300_000)
    pay(manager)
    Conversion.objects.filter(pk=conversion.pk).update(state="won")
    conversion.earnings.create(
        referrer=dana, seq=3, kind="accrual", amount=10_000, reason="x", available_at=conversion.available_at
    )
    assert sale_of(dana, 101).status == "available"


def test_the_filter_finds_what_the_list_says(dana, erzhan, manager):
    settled, returned, lent = (due_conversion(number, dana) for number in (101, 102, 103))
    pay(manager)
    due_conversion(111, dana)
    batches.payout_mark_failed(payout=start(manager).pk, reason="Счёт закрыт", by=manager)
    due_conversion(104, dana)
    start(manager)
    take_back(returned)
    Conversion.objects.filter(pk=lent.pk).update(referrer=erzhan)
    changes: dict[int, dict[str, Any]] = {
        105: {},
        106: {"hold_reason": "inactive"},
        107: {"sale_amount": None},
        108: {"available_at": timezone.now() + timedelta(days=1)},
        109: {"rejected": "Возврат"},
    }
    for number, change in changes.items():
        Conversion.objects.filter(pk=due_conversion(number, dana).pk).update(**change)
    due_conversion(110, dana, 0)
    said = {sale.number: sale.status for sale in selectors.sales_of(dana, selectors.select_sales(dana))}
    assert (len(said), said[settled.lead_id]) == (11, "paid")
    assert set(said.values()) == set(Status.values)
    for status in Status.values:
        found = selectors.sales_of(dana, selectors.select_sales(dana, status=status))
        assert {sale.number for sale in found} == {number for number, name in said.items() if name == status}


@pytest.fixture
def refused(dana, manager) -> Payout:
    """A payout of 10 000 that the bank did not transfer."""
    due_conversion(101, dana)
    payout = start(manager)
    batches.payout_mark_failed(payout=payout.pk, reason="Счёт закрыт.", by=manager)
    return payout


@pytest.mark.parametrize("path", ["/r/", "/r/sales/", "/r/sales/?status=failed", "/r/sales.csv"])
def test_what_the_bank_did_not_transfer_is_not_on_its_way(cabinet, refused, path):
    shown = words(cabinet, path)
    assert f"Банк не перевёл выплату № {refused.pk}: Счёт закрыт. Менеджер отправит деньги ещё раз" in shown
    assert "в пути" not in shown.lower()
    assert "№ 101" not in words(cabinet, "/r/sales/?status=in_payout")


def test_the_overview_says_that_a_payout_did_not_arrive(cabinet, dana, refused):
    assert selectors.select_balance(dana) == Balance(failed=Decimal(10_000), failure="Счёт закрыт.")
    shown = words(cabinet, "/r/")
    assert "Банк не перевёл 10 000 ₸: Счёт закрыт. Менеджер отправит деньги ещё раз" in shown
    assert 'Не дошла</a></dt><dd class="sum">10 000 ₸' in shown
    due_conversion(102, dana)
    assert "перенесёт их в другую выплату. Готово к выплате." in words(cabinet, "/r/")


def test_the_bot_says_that_a_payout_did_not_arrive(dana, chat, refused):
    told = CabinetMessage(chat=chat, referrer=dana, kind="balance").render().replace("\u2009", " ")
    assert "Не дошла: 10 000 ₸" in told
    assert "Банк не перевёл 10 000 ₸: Счёт закрыт." in told
    assert "В пути" not in told


def test_a_manager_reads_why_a_sale_is_not_paid(dana, manager, refused):
    (row,) = page_with_status([Conversion.objects.get(lead_id=101).pk], timezone.now())
    assert status_sentence(row.status, row) == f"Выплата № {refused.pk} не переведена: Счёт закрыт"


def more(conversion: Conversion, amount: int) -> None:
    """Post what a tier's rise posts."""
    conversion.earnings.create(
        referrer=conversion.referrer, seq=conversion.earnings.count() + 1, kind="adjustment", amount=amount, reason="x",
        available_at=conversion.available_at,
    )  # fmt: skip


def test_what_is_paid_and_what_comes_are_told_apart(cabinet, dana, manager):
    conversion = due_conversion(101, dana, 50_000)
    (first,) = pay(manager)
    more(conversion, 2_000)
    shown = words(cabinet, "/r/sales/?status=available")
    assert f"5 000 ₸ — выплачено {date_text(today())}, выплата № {first.pk}. 2 000 ₸ — " in shown
    (row,) = page_with_status([conversion.pk], timezone.now())
    assert status_sentence(row.status, row) == "К выплате; выплачено 5\u2009000\u2009₸"
    second = start(manager)
    assert f"2 000 ₸ — в выплате № {second.pk}: деньги уже в пути." in words(cabinet, "/r/sales/?status=in_payout")
    batches.payout_mark_failed(payout=second.pk, reason="Счёт закрыт", by=manager)
    shown = words(cabinet, "/r/sales/?status=failed")
    assert f"выплата № {first.pk}. 2 000 ₸ — банк не перевёл выплату № {second.pk}: Счёт закрыт." in shown


def test_the_rest_of_a_paid_sale_that_is_held_says_why(dana, manager):
    conversion = due_conversion(101, dana, 50_000)
    pay(manager)
    more(conversion, 2_000)
    Conversion.objects.update(hold_reason="ad_campaign")
    sentence = wording.status_sentence(sale_of(dana, 101))
    assert "2\u2009000\u2009₸ — удержано: покупатель пришёл и по нашей рекламе." in sentence


def test_a_deduction_is_no_money_on_its_way(cabinet, dana, manager):
    conversion = due_conversion(101, dana)
    (first,) = pay(manager)
    take_back(conversion, 1_000)
    due_conversion(102, dana, 300_000)
    second = start(manager)
    sentence = wording.status_sentence(sale_of(dana, 101))
    assert sale_of(dana, 101).status == "paid"
    assert f"выплата № {first.pk}. Часть этой суммы потом сняли: вычтено в выплате № {second.pk}." in sentence
    assert "в пути" not in sentence
    batches.payouts_mark_paid(payouts=[second.pk], paid_on=today(), by=manager)
    assert wording.status_sentence(sale_of(dana, 101)) == sentence


@pytest.mark.parametrize("failed", [False, True])
def test_what_was_lost_before_it_was_transferred_was_not_paid(cabinet, dana, manager, failed):
    conversion = due_conversion(101, dana)
    payout = start(manager)
    if failed:
        batches.payout_mark_failed(payout=payout.pk, reason="Счёт закрыт", by=manager)
    take_back(conversion)
    shown = words(cabinet, "/r/sales/?status=reversed")
    assert f"Сумма вошла в выплату № {payout.pk}, которая ещё не дошла до вас" in shown
    assert "уже была выплачена" not in shown
    assert "ыплаченн" not in words(cabinet, "/r/")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "Войдёт в ближайшую выплату"),
        ({"minimum": 20_000}, "Выплаты — от 20 000 ₸: переведём, как только столько наберётся."),
        ({"details": False}, "У нас нет ваших реквизитов: сообщите их менеджеру"),
        ({"claimed": False}, "Ждёт, пока менеджер подтвердит, что этот код ваш."),
        ({"active": False}, "Приостановлено вместе с вашим участием"),
    ],
)
def test_what_is_available_says_why_it_is_not_paid_yet(cabinet, dana, chat, settings, change, sentence):
    due_conversion(101, dana)
    settings.REFERRAL_PAYOUT_MINIMUM = change.get("minimum", 5_000)
    if not change.get("details", True):
        BankDetails.objects.all().delete()
    fields = {name: value for name, value in change.items() if name in ("claimed", "active")}
    Referrer.objects.filter(pk=dana.pk).update(**fields)
    dana.refresh_from_db()
    shown = [words(cabinet, path) for path in ("/r/", "/r/sales/", "/r/sales.csv")]
    shown.append(CabinetMessage(chat=chat, referrer=dana, kind="balance").render().replace("\u2009", " "))
    assert [sentence in text for text in shown] == [True] * 4
    assert ("от вас ничего не нужно" in shown[0]) == (not change)
    payouts = words(cabinet, "/r/payouts/")
    assert (sentence in payouts) == bool(change)


def test_what_only_makes_up_for_a_debt_goes_into_no_payout(cabinet, dana, manager):
    conversion = due_conversion(101, dana)
    pay(manager)
    take_back(conversion)
    due_conversion(102, dana, 50_000)
    assert "Пойдёт в счёт того, что отменено уже после выплаты." in words(cabinet, "/r/sales/?status=available")
    assert "5 000 ₸ вычтем из следующих выплат." in words(cabinet, "/r/")


def test_a_lower_price_after_the_payment_leaves_the_sale_paid_and_says_what_is_deducted(cabinet, dana, manager):
    conversion = due_conversion(101, dana)
    pay(manager)
    take_back(conversion, 1000)
    assert sale_of(dana, 101).status == "paid"
    assert selectors.select_balance(dana).available == -1000
    assert "1 000 ₸ из этой суммы потом сняли: вычтем из следующей выплаты." in words(cabinet, "/r/sales/")


def test_a_payout_says_where_it_is(cabinet, dana, manager):
    assert "Выплат пока нет." in words(cabinet, "/r/payouts/")
    due_conversion(101, dana)
    payout = start(manager)
    assert "Переводится на счёт •••• 0100." in words(cabinet, "/r/payouts/")
    batches.payout_mark_failed(payout=payout.pk, reason="Счёт закрыт", by=manager)
    assert "Банк не перевёл: Счёт закрыт." in words(cabinet, "/r/payouts/")
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    assert "Переведено" in words(cabinet, "/r/payouts/")
    assert IBAN not in words(cabinet, "/r/payouts/")


def test_a_void_payout_never_was(cabinet, dana, manager):
    due_conversion(101, dana)
    payout = start(manager)
    batches.payout_void(payout=payout.pk, reason="Не тот счёт", by=manager)
    assert "Выплат пока нет." in words(cabinet, "/r/payouts/")
    assert cabinet.get(f"/r/payouts/{payout.pk}/").status_code == 404
    assert selectors.select_balance(dana) == Balance(available=Decimal(10_000))


def test_nobody_elses_payout_is_anywhere(cabinet, erzhan, manager):
    BankDetails.objects.create(referrer=erzhan, recipient="Ержан Чужой", account="+77010000002")
    due_conversion(201, erzhan, 990_000)
    (payout,) = pay(manager)
    assert cabinet.get(f"/r/payouts/{payout.pk}/").status_code == 404
    for path in ("/r/payouts/", "/r/payouts/?referrer=ref_erzhan", "/r/", "/r/sales.csv"):
        shown = words(cabinet, path)
        assert "99 000" not in shown
        assert "Чужой" not in shown


def test_without_a_session_there_are_no_payouts(client, dana, manager):
    due_conversion(101, dana)
    (payout,) = pay(manager)
    for path in ("/r/payouts/", f"/r/payouts/{payout.pk}/"):
        assert client.get(path).status_code == 302


def test_the_statement_obeys_the_strict_policy(cabinet, dana, manager):
    due_conversion(101, dana)
    (payout,) = pay(manager)
    answer = cabinet.get(f"/r/payouts/{payout.pk}/")
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert "style=" not in answer.content.decode()
    assert "onclick" not in answer.content.decode()


def test_pages_ask_as_often_for_many_sales_as_for_few(cabinet, dana, manager, django_assert_max_num_queries):
    for number in range(40):
        due_conversion(number + 1, dana)
    pay(manager)
    with django_assert_max_num_queries(8):
        words(cabinet, "/r/sales/")
    with django_assert_max_num_queries(6):
        words(cabinet, "/r/payouts/")
