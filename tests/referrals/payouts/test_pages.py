from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse

from onai_project import roles
from referrals.payouts import batches, views
from referrals.payouts.models import BankDetails, Payout, PayoutBatch
from referrals.payouts.preview import select_preview
from tests.onai_project.rows import make_user
from tests.referrals.payouts.conftest import IBAN, confirm, due_conversion, today

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(client: Client, manager) -> Client:
    client.force_login(manager)
    return client


@pytest.fixture
def payout(dana, batch, manager) -> Payout:
    due_conversion(1, dana)
    return confirm(batch, manager)[0]


def batch_url(name: str, batch: PayoutBatch) -> str:
    return reverse(f"admin:payouts_payoutbatch_{name}", args=[batch.pk])


def test_a_draft_is_made_with_the_minimum_of_the_settings_and_opened(office, settings):
    settings.REFERRAL_PAYOUT_MINIMUM = 7000
    form = office.get(reverse("admin:payouts_payoutbatch_add")).content.decode()
    assert 'value="7000"' in form
    answer = office.post(
        reverse("admin:payouts_payoutbatch_add"), {"cutoff": today().isoformat(), "minimum": "7000"}, follow=True
    )
    batch = PayoutBatch.objects.get()
    assert answer.redirect_chain[-1][0] == batch_url("change", batch)
    assert [(event.kind, event.by.username) for event in batch.events.all()] == [("created", "refs")]


def test_a_cutoff_in_the_future_is_explained(office):
    day = today() + timedelta(days=1)
    page = office.post(reverse("admin:payouts_payoutbatch_add"), {"cutoff": day.isoformat(), "minimum": "7000"})
    assert "Этот день ещё не наступил" in page.content.decode()
    assert not PayoutBatch.objects.exists()


def test_the_draft_shows_who_is_paid_and_who_is_not_and_why(office, batch, dana, make_referrer):
    due_conversion(1, dana)
    due_conversion(2, make_referrer("ref_poor"), 20_000)
    due_conversion(3, make_referrer("ref_new", details=False))
    page = office.get(batch_url("change", batch)).content.decode()
    assert "Подтвердить: выплатить 10\u2009000\u2009₸" in page
    assert "Меньше минимума: 5\u2009000\u2009₸" in page
    assert "Нет реквизитов" in page


def test_confirming_by_the_button(office, batch, dana):
    due_conversion(1, dana)
    seen = select_preview(cutoff=batch.cutoff, minimum=batch.minimum).fingerprint
    page = office.post(batch_url("confirm", batch), {"fingerprint": seen}, follow=True).content.decode()
    assert "Подтверждена 1 выплата" in page
    assert Payout.objects.get().state == "confirmed"


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_a_deadlock_is_no_matter_for_a_manager(office, payout, monkeypatch, sqlstate):
    tries = []

    def tell_at_the_second_time(**_: object) -> None:
        tries.append(Payout.objects.get().state)
        if len(tries) == 1:
            cursor = connection.cursor()
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'as in life' USING ERRCODE = '{sqlstate}'; END $$")

    monkeypatch.setattr(batches, "tell_of_payouts", tell_at_the_second_time)
    page = office.post(batch_url("paid", payout.batch), {"paid_on": today().isoformat()}, follow=True).content.decode()
    assert "Отмечена выплаченной 1 выплата" in page
    assert tries == ["paid", "paid"]
    assert list(payout.events.values_list("kind", flat=True)) == ["paid"]


def test_confirming_what_has_changed_says_so(office, batch, dana):
    due_conversion(1, dana)
    page = office.post(batch_url("confirm", batch), {"fingerprint": "1:9"}, follow=True).content.decode()
    assert "реквизиты изменились, пока вы смотрели" in page
    assert not Payout.objects.exists()


def test_the_whole_way_of_a_batch_by_its_buttons(office, batch, payout):
    content = f"Выплата;Результат;Причина\n{payout.pk};отказ;Счёт закрыт".encode()
    shown = office.post(batch_url("results", batch), {"file": SimpleUploadedFile("r.csv", content)})
    assert "Счёт закрыт" in shown.content.decode()
    assert Payout.objects.get().state == "confirmed"
    office.post(batch_url("results", batch), {"token": shown.context["read"].token})
    assert Payout.objects.get().state == "failed"
    page = office.post(
        reverse("admin:payouts_payout_paid", args=[payout.pk]),
        {"paid_on": today().isoformat(), "reference": "П-1"},
        follow=True,
    )
    assert "Отмечена выплаченной 1 выплата." in page.content.decode()
    assert [event.kind for event in payout.events.all()] == ["failed", "paid"]


def test_all_of_a_batch_is_noted_as_paid(office, batch, payout):
    office.post(batch_url("paid", batch), {"paid_on": today().isoformat()})
    assert Payout.objects.get().state == "paid"


def test_a_day_that_is_none_is_explained(office, batch, payout):
    page = office.post(batch_url("paid", batch), {"paid_on": "вчера"}, follow=True).content.decode()
    assert "правильную дату" in page
    assert Payout.objects.get().state == "confirmed"


def test_a_payout_is_made_void_by_its_button(office, payout):
    office.post(reverse("admin:payouts_payout_void", args=[payout.pk]), {"reason": "Не тот счёт"})
    assert Payout.objects.get().state == "void"
    page = office.get(reverse("admin:payouts_payout_change", args=[payout.pk])).content.decode()
    assert "Не тот счёт" in page


def test_changes_are_by_post(office, batch, payout):
    for url in [
        *(batch_url(name, batch) for name in ("confirm", "void", "paid")),
        *(reverse(f"admin:payouts_payout_{name}", args=[payout.pk]) for name in ("paid", "failed", "void")),
    ]:
        assert office.get(url).status_code == 405
    assert Payout.objects.get().state == "confirmed"


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_the_file_for_the_bank_is_downloaded_and_kept_nowhere(office, batch, payout, kind):
    answer = office.get(batch_url(kind, batch))
    assert f"payouts-{batch.pk}.{kind}" in answer["Content-Disposition"]
    assert "no-store" in answer["Cache-Control"]
    assert len(answer.content) > 100


def test_the_statement_masks_the_customer_and_the_account(office, payout):
    page = office.get(reverse("admin:payouts_payout_statement", args=[payout.pk])).content.decode()
    assert "10\u2009000\u2009₸" in page
    assert "№ 1<" in page
    assert "•••• 0100" in page
    assert IBAN not in page
    assert "Сделка" not in page


def test_a_payout_shows_the_first_entries_and_its_statement_all(office, batch, dana, manager, monkeypatch):
    monkeypatch.setattr(views, "LINES_SHOWN", 2)
    for number in (71, 72, 73):
        due_conversion(number, dana)
    (payout,) = confirm(batch, manager)
    page = office.get(reverse("admin:payouts_payout_change", args=[payout.pk]))
    assert [line.number for line in page.context["statement"].lines] == ["71", "72"]
    assert "Ещё 1 запись есть в ведомости." in page.content.decode()
    statement = office.get(reverse("admin:payouts_payout_statement", args=[payout.pk]))
    assert [line.number for line in statement.context["statement"].lines] == ["71", "72", "73"]


@pytest.mark.parametrize("role", [roles.HEAD_OF_TRAFFIC, roles.TARGETOLOGIST])
def test_people_of_traffic_open_and_change_nothing(client, batch, payout, role):
    client.force_login(make_user("someone", role=role))
    pages = [*(batch_url(name, batch) for name in ("change", "csv", "xlsx", "results"))]
    pages += [reverse(f"admin:payouts_payout_{name}", args=[payout.pk]) for name in ("change", "statement")]
    pages += [reverse("admin:payouts_ledgercheck_run"), reverse("admin:payouts_bankdetails_changelist")]
    assert {client.get(page).status_code for page in pages} == {403}
    changes = [batch_url(name, batch) for name in ("confirm", "void", "paid", "results")]
    changes += [reverse(f"admin:payouts_payout_{name}", args=[payout.pk]) for name in ("paid", "failed", "void")]
    assert {client.post(change, {"reason": "x", "paid_on": "2025-01-01"}).status_code for change in changes} == {403}
    assert Payout.objects.get().state == "confirmed"


@pytest.mark.parametrize("number", ["999", "x", "9" * 30])
def test_a_batch_or_payout_that_is_none_is_not_found(office, number):
    for model in ("payoutbatch", "payout", "ledgercheck"):
        assert office.get(f"/admin/payouts/{model}/{number}/change/").status_code == 404


def test_the_lists_ask_as_often_for_many_rows_as_for_one(office, manager, make_referrer, django_assert_max_num_queries):
    for number in range(8):
        due_conversion(number, make_referrer(f"ref_{number}"))
        confirm(batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager), manager)
    for model in ("payoutbatch", "payout", "bankdetails"):
        with django_assert_max_num_queries(9):
            assert office.get(reverse(f"admin:payouts_{model}_changelist")).status_code == 200


def details(office: Client, **fields: str):
    return office.post(reverse("admin:payouts_bankdetails_add"), {"recipient": "Дана Тестова", "iin": "", **fields})


def test_bank_details_are_stored_as_banks_write_them(office, make_referrer):
    new = make_referrer("ref_new", details=False)
    assert details(office, referrer=new.pk, account=" kz86 125k zt50 0410 0100").status_code == 302
    assert BankDetails.objects.get().account == IBAN


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"account": "KZ86125KZT5004100101"}, "Это не IBAN"),
        ({"account": "DE89370400440532013000"}, "Это не IBAN"),
        ({"account": "+7701"}, "Это не IBAN"),
        ({"account": IBAN, "iin": "123456789012"}, "Это не ИИН"),
        ({"account": IBAN, "recipient": "=HYPERLINK()"}, "Имя начинается с буквы"),
    ],
)
def test_wrong_bank_details_are_explained(office, make_referrer, fields, words):
    new = make_referrer("ref_new", details=False)
    assert words in details(office, referrer=new.pk, **fields).content.decode()
    assert not BankDetails.objects.exists()


def test_a_phone_number_and_an_iin_will_do(office, make_referrer):
    new = make_referrer("ref_new", details=False)
    assert details(office, referrer=new.pk, account="8 701 000 00 01", iin="880101300000").status_code == 302
    stored = BankDetails.objects.first()
    assert stored is not None
    assert stored.account == "+77010000001"
