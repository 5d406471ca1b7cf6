from __future__ import annotations

from decimal import Decimal
from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.urls import reverse
from procrastinate.contrib.django.models import ProcrastinateJob

from notifications import alarms
from onai_project import roles
from referrals import decisions, receivers
from referrals.models import Conversion
from referrals.payouts import batches, tasks
from referrals.payouts.checks import CHECKS, findings_of, ledger_check
from referrals.payouts.models import LedgerCheck, Payout
from tests import bodies
from tests.onai_project.rows import make_user
from tests.referrals.payouts.conftest import confirm, pay, today
from webhooks import inbox
from webhooks.models import Deal, WebhookDelivery

pytestmark = pytest.mark.django_db

LONG_AGO = 1_750_000_000


def tell(lead_id: int, **fields) -> None:
    body = bodies.hook(lead_id, **{"at": LONG_AGO, "price": 100_000, "utm_source": "ref_dana", **fields})
    WebhookDelivery.objects.create(source="amocrm_referral", body=body, content_type=bodies.FORM)
    while inbox.process_due():
        pass


@pytest.fixture
def books(dana, manager) -> Payout:
    """A paid and a void payout, a debt, a sale that is not paid yet."""
    tell(1)
    tell(2)
    (paid,) = pay(manager)
    tell(1, status=bodies.LOST, at=LONG_AGO + 5)
    tell(3, price=500_000)
    batch = batches.batch_create(cutoff=today(), minimum=paid.batch.minimum, by=manager)

    (void,) = confirm(batch, manager)
    batches.payout_void(payout=void.pk, reason="x", by=manager)
    tell(4, price=None)
    tell(5, utm_source="facebook")
    return paid


def wrong() -> dict[str, int]:
    findings = ledger_check().findings
    return {name: finding["count"] for name, finding in findings.items() if finding["count"]}


def unguarded(*statements: str) -> None:
    """Do what the triggers and constraints forbid."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("referral_earnings", "referral_payouts", "referral_payout_items", "referral_payout_events"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)


def test_sound_books_have_nothing_wrong(books):
    assert wrong() == {}
    assert len(LedgerCheck.objects.get().findings) == len(CHECKS) == 9


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE referral_earnings SET amount = amount + 1 WHERE conversion_id = (SELECT id FROM referral_conversions "
         "WHERE lead_id = 3)", {"balances": 1, "items": 1}),
        ("UPDATE referral_payouts SET amount = 1 WHERE state = 'paid'", {"sums": 1}),
        ("UPDATE referral_payout_items SET live = NOT live WHERE payout_id IN (SELECT id FROM referral_payouts "
         "WHERE state = 'void')", {"live": 2}),
        ("DELETE FROM referral_payout_events WHERE kind = 'paid'", {"paid": 1}),
        ("UPDATE referral_payouts SET referrer_id = (SELECT id FROM referrers WHERE code = 'ref_x') "
         "WHERE state = 'paid'", {"items": 2}),
        ("INSERT INTO referral_payout_items (payout_id, earning_id, amount, live) SELECT payout.id, earning.id, "
         "earning.amount, false FROM referral_payouts AS payout, referral_earnings AS earning "
         "JOIN referral_payout_items AS item ON item.earning_id = earning.id AND item.live "
         "WHERE payout.state = 'void' LIMIT 1", {"sums": 1}),
        ("UPDATE referral_conversions SET state = 'reversed' WHERE lead_id = 2", {"balances": 1, "won_without": 1}),
        ("UPDATE deals SET price = price + 1 WHERE lead_id = 2", {"left_behind": 1}),
        ("UPDATE deals SET price = NULL WHERE lead_id = 2", {"left_behind": 1}),
        ("UPDATE deals SET utm_source = 'ref_x' WHERE lead_id = 2", {"left_behind": 1}),
        ("UPDATE referral_conversions SET sale_date = sale_date + interval '1 microsecond' WHERE lead_id = 2",
         {"left_behind": 1}),
        ("UPDATE deals SET is_deleted = true WHERE lead_id = 2", {"won_for_nothing": 1}),
    ],
)  # fmt: skip
def test_each_check_finds_what_it_is_for(books, make_referrer, damage, found):
    make_referrer("ref_x")
    unguarded(damage)
    assert wrong() == found


def test_an_entry_in_two_live_payouts_is_found(books):
    unguarded(
        "ALTER TABLE referral_payouts DROP CONSTRAINT payout_says_why_not",
        "UPDATE referral_payouts SET state = 'confirmed' WHERE state = 'void'",
        "INSERT INTO referral_payout_items (payout_id, earning_id, amount, live) "
        "SELECT (SELECT max(id) FROM referral_payouts), earning_id, amount, false FROM referral_payout_items "
        "WHERE payout_id = (SELECT min(id) FROM referral_payouts) LIMIT 1",
    )
    assert wrong()["twice"] == 1


def test_a_won_referral_without_a_conversion_is_found(books):
    Deal.objects.create(lead_id=77, utm_source=" REF_Dana", wins={"7": [1, 1]})
    assert wrong() == {"won_without": 1}


def test_what_a_dead_delivery_left_behind_is_found_told_and_mended(books, monkeypatch):
    """The deal has another amount, another referrer's code; the conversion heard of neither."""
    with monkeypatch.context() as patch:
        patch.setattr(receivers, "converge_conversions", broken)
        tell(2, price=70_000, utm_source="ref_other", at=LONG_AGO + 60)
    assert wrong() == {"left_behind": 1}
    finding = next(one for one in findings_of(LedgerCheck.objects.latest("pk")) if one.count)
    assert finding.examples == ["2 referrer: ref_dana ≠ ref_other; sale_amount: 100000 ≠ 70000"]
    assert "manage.py resync referrals" in finding.remedy
    call_command("resync", "referrals", stdout=StringIO(), stderr=StringIO())
    assert wrong() == {}


def broken(*_: object) -> None:
    raise RuntimeError("as in life")


def test_decisions_and_a_move_to_another_pipeline_leave_nothing_behind(books, manager):
    decisions.conversion_refund(lead_id=2, by=manager, reason="x", amount=Decimal(30_000))
    decisions.conversion_correct(lead_id=3, by=manager, reason="x", amount=Decimal(500))
    tell(3, price=500_000, pipeline=8, status=bodies.OPEN, at=LONG_AGO + 90)
    assert Conversion.objects.get(lead_id=3).moved
    assert wrong() == {}


def test_the_command_prints_every_check_and_ends_well(books):
    out = StringIO()
    call_command("check_ledger", stdout=out)
    assert out.getvalue().count("     0 ") == 9


def test_the_command_ends_with_an_error_and_an_example(books):
    unguarded("UPDATE referral_payouts SET amount = 1 WHERE state = 'paid'")
    out = StringIO()
    with pytest.raises(CommandError, match="1 rows are wrong"):
        call_command("check_ledger", stdout=out)
    assert f"{books.pk} 1 20000" in out.getvalue()
    assert "→ Кто-то изменил базу в обход её защиты." in out.getvalue()


def problem() -> str:
    return next(finding.problem for finding in alarms.look() if finding.check.name == "ledger")


def test_it_alarms_while_the_last_check_found_something(books):
    assert problem() == ""
    unguarded("UPDATE referral_payouts SET amount = 1 WHERE state = 'paid'")
    ledger_check()
    assert "Выплата равна сумме своих записей" in problem()
    unguarded("UPDATE referral_payouts SET amount = 20000 WHERE state = 'paid'")
    ledger_check()
    assert problem() == ""


def test_it_alarms_when_nobody_checks(books):
    with time_machine.travel("2035-01-01T00:00:00Z", tick=False):
        assert "не проверялась" in problem()


def test_an_empty_ledger_is_no_alarm(db):
    assert problem() == ""


def test_the_worker_checks_once_a_day_in_the_small_hours(books):
    with time_machine.travel("2026-01-10T22:59:00Z", tick=False) as clock:  # 03:59 in Almaty
        LedgerCheck.objects.create(started_at="2026-01-10T00:00:00Z", seconds=1, wrong=0, findings={})
        tasks.check_ledger_daily(timestamp=0)
        assert LedgerCheck.objects.count() == 1
        clock.shift(60)
        tasks.check_ledger_daily(timestamp=0)
        assert LedgerCheck.objects.count() == 2
        LedgerCheck.objects.filter(started_at__gt="2026-01-11T00:00:00Z").update(started_at="2026-01-10T23:00:00Z")
        tasks.check_ledger_daily(timestamp=0)
        assert LedgerCheck.objects.count() == 2


def test_the_worker_checks_when_somebody_asks_and_the_page_waits_for_it(books, manager, client):
    client.force_login(manager)
    LedgerCheck.objects.create(seconds=1, wrong=0, findings={})
    unguarded("UPDATE referral_payouts SET amount = 1 WHERE state = 'paid'")
    run = reverse("admin:payouts_ledgercheck_run")
    waits = client.post(run).url
    assert client.post(run).url == waits
    jobs = ProcrastinateJob.objects.filter(task_name="referrals.payouts.tasks.check_ledger_now")
    assert jobs.count() == 1, "asked twice, done once"
    assert f'content="2; url={waits}"' in client.get(waits).content.decode()
    tasks.check_ledger_now()
    page = client.get(waits, follow=True).content.decode()
    assert f"{books.pk} 1 20000" in page
    assert "1 строка неверна" in page
    assert "Кто-то изменил базу" in page


def test_the_page_that_waits_is_nobody_elses(client):
    client.force_login(make_user("someone", role=roles.HEAD_OF_TRAFFIC))
    assert client.post(reverse("admin:payouts_ledgercheck_run")).status_code == 403
    assert not ProcrastinateJob.objects.filter(task_name="referrals.payouts.tasks.check_ledger_now").exists()
