from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from referrals.cabinet.models import CabinetMessage, LinkedChat
from referrals.models import Conversion, Earning, Referrer
from referrals.payouts import batches
from referrals.payouts.models import BankDetails, Payout, PayoutBatch, PayoutEvent, PayoutItem
from referrals.payouts.preview import select_preview
from tests.referrals.payouts.conftest import IBAN, confirm, due_conversion, pay, take_back, today

pytestmark = pytest.mark.django_db


@pytest.fixture
def payout(dana, batch, manager) -> Payout:
    due_conversion(1, dana)
    return confirm(batch, manager)[0]


def state(payout: Payout) -> str:
    payout.refresh_from_db()
    return payout.state


def test_confirming_freezes_sum_recipient_and_entries(dana, batch, manager):
    due_conversion(1, dana)
    due_conversion(2, dana, 50_000)
    (payout,) = confirm(batch, manager)
    assert (payout.amount, payout.recipient, payout.account) == (15_000, "Дана Тестова", IBAN)
    assert sorted(payout.items.values_list("amount", flat=True)) == [5_000, 10_000]
    due_conversion(3, dana)
    dana.bank_details.recipient = "Другая"
    dana.bank_details.save()
    payout.refresh_from_db()
    assert (payout.amount, payout.recipient, payout.items.count()) == (15_000, "Дана Тестова", 2)


def test_who_sees_other_sums_confirms_nothing(dana, batch, manager):
    due_conversion(1, dana)
    seen = select_preview(cutoff=batch.cutoff, minimum=batch.minimum).fingerprint
    due_conversion(2, dana)
    with pytest.raises(batches.PayoutError, match="изменились"):
        batches.batch_confirm(batch=batch, fingerprint=seen, by=manager)
    assert not Payout.objects.exists()


def other_account(dana: Referrer) -> None:
    BankDetails.objects.update(account="+77010000009")


def other_recipient(dana: Referrer) -> None:
    BankDetails.objects.update(recipient="Другая Тестова")


def other_person(dana: Referrer) -> None:
    other = Referrer.objects.create(code="ref_other", claimed=True)
    BankDetails.objects.create(referrer=other, recipient="Дана Тестова", account=IBAN)
    take_back(Conversion.objects.get())
    due_conversion(2, other)


def other_entries(dana: Referrer) -> None:
    take_back(Conversion.objects.get())
    due_conversion(2, dana)


@pytest.mark.parametrize("change", [other_account, other_recipient, other_person, other_entries])
def test_the_same_sum_by_other_ways_confirms_nothing(dana, batch, manager, change):
    """As many people and as much money; yet not what the manager saw."""
    due_conversion(1, dana)
    seen = select_preview(cutoff=batch.cutoff, minimum=batch.minimum)
    change(dana)
    now = select_preview(cutoff=batch.cutoff, minimum=batch.minimum)
    assert (len(now.paid), now.total) == (len(seen.paid), seen.total)
    with pytest.raises(batches.PayoutError, match="Получатели, записи или реквизиты изменились"):
        batches.batch_confirm(batch=batch, fingerprint=seen.fingerprint, by=manager)
    assert not Payout.objects.exists()


def test_a_batch_is_confirmed_once(payout, batch, manager):
    with pytest.raises(batches.PayoutError, match="кто-то успел раньше"):
        confirm(batch, manager)


def test_an_empty_batch_is_not_confirmed(batch, manager):
    with pytest.raises(batches.PayoutError, match="Платить некому"):
        confirm(batch, manager)


def test_a_draft_holds_nothing(dana, batch, manager):
    due_conversion(1, dana)
    other = batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager)
    assert len(confirm(other, manager)) == 1
    assert select_preview(cutoff=batch.cutoff, minimum=batch.minimum).paid == []


def test_a_cutoff_in_the_future_is_refused(manager):
    with pytest.raises(batches.PayoutError):
        batches.batch_create(cutoff=today() + timedelta(days=1), minimum=Decimal(1), by=manager)


def test_paid_is_noted_with_the_day_the_document_and_the_manager(payout, manager):
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager, reference="П-17")
    payout.refresh_from_db()
    assert (payout.state, payout.paid_on, payout.reference) == ("paid", today(), "П-17")
    assert list(payout.events.values_list("kind", "by", "note")) == [("paid", manager.pk, "П-17")]


def test_paid_a_second_time_changes_nothing(payout, manager):
    yesterday = today() - timedelta(days=1)
    assert batches.payouts_mark_paid(payouts=[payout.pk], paid_on=yesterday, by=manager) == 1
    assert batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager) == 0
    payout.refresh_from_db()
    assert (payout.paid_on, payout.events.count()) == (yesterday, 1)


def test_the_day_of_a_transfer_is_not_in_the_future(payout, manager):
    with pytest.raises(batches.PayoutError):
        batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today() + timedelta(days=1), by=manager)
    assert state(payout) == "confirmed"


def test_a_failed_payout_keeps_its_entries_and_may_be_paid_after_all(payout, manager):
    assert batches.payout_mark_failed(payout=payout.pk, reason="Счёт закрыт", by=manager)
    assert (state(payout), payout.reason) == ("failed", "Счёт закрыт")
    assert select_preview(cutoff=today(), minimum=Decimal(1)).paid == []
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    assert (state(payout), payout.reason) == ("paid", "")


@pytest.mark.parametrize("failed", [False, True])
def test_void_gives_the_entries_back(payout, manager, failed):
    if failed:
        batches.payout_mark_failed(payout=payout.pk, reason="Счёт закрыт", by=manager)
    batches.payout_void(payout=payout.pk, reason="Не тот счёт", by=manager)
    assert (state(payout), payout.reason) == ("void", "Не тот счёт")
    (line,) = select_preview(cutoff=today(), minimum=Decimal(1)).paid
    assert line.payable == payout.amount
    (again,) = pay(manager)
    assert again.amount == payout.amount


def test_failed_and_void_need_a_reason(payout, manager):
    for change in (batches.payout_mark_failed, batches.payout_void):
        with pytest.raises(batches.PayoutError, match="причину"):
            change(payout=payout.pk, reason=" ", by=manager)
    assert state(payout) == "confirmed"


def test_paid_and_void_are_final(dana, batch, manager, make_referrer):
    due_conversion(1, dana)
    due_conversion(2, make_referrer("ref_other"))
    paid, void = confirm(batch, manager)
    batches.payouts_mark_paid(payouts=[paid.pk], paid_on=today(), by=manager)
    batches.payout_void(payout=void.pk, reason="Ошибка", by=manager)
    for payout in (paid, void):
        for change in (batches.payout_mark_failed, batches.payout_void):
            with pytest.raises(batches.PayoutError, match="это окончательно"):
                change(payout=payout.pk, reason="x", by=manager)
    with pytest.raises(batches.PayoutError, match="это окончательно"):
        batches.payouts_mark_paid(payouts=[paid.pk, void.pk], paid_on=today(), by=manager)
    assert (state(paid), state(void)) == ("paid", "void")


@pytest.mark.parametrize(
    ("before", "after"), [("paid", "confirmed"), ("paid", "void"), ("void", "confirmed"), ("failed", "confirmed")]
)
def test_the_database_refuses_a_way_back(payout, manager, before, after):
    """Old failure 18: paid conversions could go back to confirmed."""
    Payout.objects.update(state=before, reason="x", paid_on=today() if before == "paid" else None)
    with pytest.raises(DatabaseError, match="does not become"), transaction.atomic():
        Payout.objects.update(state=after, paid_on=None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE referral_payouts SET amount = 1",
        "UPDATE referral_payouts SET account = 'x'",
        "DELETE FROM referral_payouts",
        "UPDATE referral_payout_items SET amount = 1",
        "DELETE FROM referral_payout_items",
        "UPDATE referral_payout_batches SET minimum = 1",
        "UPDATE referral_payout_batches SET state = 'draft'",
        "UPDATE referral_payout_events SET note = 'x'",
    ],
)
def test_the_database_refuses_to_change_what_is_frozen(payout, statement):
    with pytest.raises(DatabaseError, match=r"frozen|never deleted|does not become|append-only"), transaction.atomic():
        connection.cursor().execute(statement)


@pytest.mark.parametrize(
    "table",
    [
        "referral_earnings",
        "referral_decisions",
        "referral_payout_batches",
        "referral_payouts",
        "referral_payout_items",
        "referral_payout_events",
    ],
)
def test_the_database_refuses_to_empty_what_is_booked(payout, table):
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER no_truncate")  # tests are let empty them
        with pytest.raises(DatabaseError, match=f"{table} is never emptied"), transaction.atomic():
            cursor.execute(f"TRUNCATE {table} CASCADE")


def test_the_database_refuses_another_entry_in_a_confirmed_payout(payout, dana):
    due_conversion(2, dana)
    for live in (True, False):
        with pytest.raises(DatabaseError, match="are not its sum"), transaction.atomic():
            PayoutItem.objects.create(payout=payout, earning=Earning.objects.latest("pk"), amount=10_000, live=live)


def test_the_database_refuses_a_payout_of_other_entries_than_its_sum(payout, dana, manager):
    due_conversion(2, dana)
    batch = batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager)
    other = Payout.objects.create(batch=batch, referrer=dana, amount=9_000, recipient="x", account="x")
    with pytest.raises(DatabaseError, match="are not its sum"), transaction.atomic():
        PayoutItem.objects.create(payout=other, earning=Earning.objects.latest("pk"), amount=10_000)


def test_the_database_refuses_an_entry_in_two_live_payouts(payout, manager):
    other = Payout.objects.create(
        batch=batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager),
        referrer=payout.referrer,
        amount=1,
        recipient="x",
        account="x",
    )
    with pytest.raises(IntegrityError, match="payout_item_one_live"), transaction.atomic():
        PayoutItem.objects.create(payout=other, earning=Earning.objects.get(), amount=1)


def test_a_batch_without_a_paid_payout_is_made_void_as_a_whole(payout, batch, manager):
    batches.batch_void(batch=batch, reason="Ошиблись днём", by=manager)
    batch.refresh_from_db()
    assert (batch.state, state(payout)) == ("void", "void")
    assert len(select_preview(cutoff=today(), minimum=Decimal(1)).paid) == 1


def test_a_batch_with_a_paid_payout_is_not(payout, batch, manager):
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    with pytest.raises(batches.PayoutError, match="уже выплачена"):
        batches.batch_void(batch=batch, reason="x", by=manager)


def test_a_draft_ends_without_a_reason(batch, manager):
    batches.batch_void(batch=batch, reason="", by=manager)
    batch.refresh_from_db()
    assert batch.state == "void"


def test_a_reversal_after_the_payment_is_netted_by_the_next_batch(dana, manager):
    conversion = due_conversion(1, dana)
    pay(manager)
    take_back(conversion)
    due_conversion(2, dana, 250_000)
    (payout,) = pay(manager)
    assert payout.amount == 15_000
    assert sorted(payout.items.values_list("amount", flat=True)) == [-10_000, 25_000]


def test_a_referrer_hears_of_the_payout_once(payout, manager, dana, settings):
    from notifications.models import TelegramChat

    chat = TelegramChat.objects.create(chat_id=7, kind="referrer")
    LinkedChat.objects.create(referrer=dana, chat=chat)
    for _ in range(2):
        batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    (message,) = CabinetMessage.objects.all()
    text = message.render()
    assert "Выплачено вам: 10\u2009000\u2009₸" in text
    assert f"/r/payouts/{payout.pk}/" in text
    assert "•••• 0100" in text
    assert IBAN not in text


def test_a_referrer_who_switched_payouts_off_hears_nothing(payout, manager, dana):
    from notifications.models import TelegramChat

    LinkedChat.objects.create(
        referrer=dana, chat=TelegramChat.objects.create(chat_id=7, kind="referrer"), payouts=False
    )
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    assert not CabinetMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("same_batch", [True, False])
def test_two_managers_confirm_at_once_and_each_entry_is_in_one_payout(manager, make_referrer, same_batch):
    for number in range(20):
        due_conversion(number, make_referrer(f"ref_{number}"))
    first = batches.batch_create(cutoff=today(), minimum=Decimal(5000), by=manager)
    second = first if same_batch else batches.batch_create(cutoff=today(), minimum=Decimal(5000), by=manager)
    seen = select_preview(cutoff=today(), minimum=Decimal(5000)).fingerprint
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def click(batch: PayoutBatch) -> None:
        try:
            start.wait(10)
            batches.batch_confirm(batch=batch, fingerprint=seen, by=User.objects.get(pk=manager.pk))
            outcomes.append("confirmed")
        except batches.PayoutError:
            outcomes.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=click, args=[batch]) for batch in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["confirmed", "refused"]
    assert (Payout.objects.count(), PayoutItem.objects.filter(live=True).count()) == (20, 20)
    assert PayoutEvent.objects.filter(kind="confirmed").count() == 1
