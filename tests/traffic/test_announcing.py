"""Who hears of a sale, when, and how often (law 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from tests import bodies
from tests.traffic.announcements import NOW, answered, arystans, chat, sent, tell, told, won
from traffic.models import Sale, SalesNotification, Targetologist

pytestmark = pytest.mark.django_db


# --- Where to ------------------------------------------------------------------------------------


def test_a_sale_is_told_to_the_common_chat():
    chat(-1, "common")
    chat(-2, "admin")
    chat(-3, "targetologist")
    tell(won())
    assert told() == [("sale", None, 1, "pending")]


def test_and_to_the_chat_of_its_targetologist():
    arystans()
    tell(won(), won(lead_id=2, utm_campaign="tripwire"))
    assert told() == [
        ("sale", None, 1, "pending"),
        ("sale", "targetologist -20", 1, "pending"),
        ("sale", None, 1, "pending"),
    ]


def test_a_targetologists_chat_that_is_the_common_one_hears_of_it_once():
    Targetologist.objects.filter(slug="arystan").update(chat=chat(-1, "common"))
    tell(won())
    assert told() == [("sale", None, 1, "pending")]


def test_a_chat_that_somebody_switched_off_stays_silent():
    arystans(active=False)
    tell(won())
    assert told() == [("sale", None, 1, "pending")]


def test_what_a_refused_chat_should_hear_is_kept_for_later():
    arystans(active=False, disabled_reason="kicked")
    tell(won())
    assert ("sale", "targetologist -20", 1, "pending") in told()


def test_a_sale_that_nobody_has_goes_to_the_administrators():
    arystans()
    chat(-1, "admin")
    chat(-2, "admin", active=False)
    chat(-3, "admin")
    tell(won(utm_campaign="x"))
    assert told() == [("sale", "admin -1", 1, "pending"), ("sale", "admin -3", 1, "pending")]


def test_without_an_administrators_chat_it_goes_to_the_common_one():
    tell(won(utm_campaign="x"))
    assert told() == [("sale", None, 1, "pending")]


def test_a_referrals_sale_is_not_told():
    chat(-1, "admin")
    tell(won(utm_source="ref_aru"))
    assert told() == []


def test_utm_that_comes_late_sends_the_message_where_it_belongs():
    chat(-1, "admin")
    tell(won(utm_campaign=""))
    tell(won(at=NOW + 1, action="update"))
    assert told() == [("sale", "admin -1", 1, "cancelled"), ("sale", None, 1, "pending")]


def test_utm_that_comes_after_the_administrators_were_told_tells_the_others():
    chat(-1, "admin")
    arystans()
    tell(won(utm_campaign=""))
    sent()
    tell(won(at=NOW + 1, action="update"))
    assert told() == [
        ("sale", "admin -1", 1, "sent"),
        ("sale", None, 1, "pending"),
        ("sale", "targetologist -20", 1, "pending"),
    ]


def test_a_chat_that_heard_of_the_sale_does_not_hear_of_it_again_when_it_becomes_anothers():
    arystans()
    tell(won(utm_campaign="tripwire"))
    sent()
    tell(won(at=NOW + 1, action="update"))
    assert told() == [("sale", None, 1, "sent"), ("sale", "targetologist -20", 1, "pending")]


def test_a_message_is_not_sent_to_the_one_who_does_not_have_the_sale_any_more():
    arystans()
    tell(won())
    tell(won(at=NOW + 1, action="update", utm_campaign="tripwire"))
    assert told() == [("sale", None, 1, "pending"), ("sale", "targetologist -20", 1, "cancelled")]


def test_an_edit_tells_no_chat_that_was_entered_later():
    tell(won())
    sent()
    arystans()
    tell(won(at=NOW + 1, action="update", price=7))
    assert told() == [("sale", None, 1, "sent")]


# --- How often, and when not ---------------------------------------------------------------------


def test_a_retry_and_a_replay_tell_nothing_twice():
    body = won()
    tell(body)
    tell(body)
    tell(body, live=False)
    assert told() == [("sale", None, 1, "pending")]


def test_the_database_keeps_one_message_per_fact():
    tell(won())
    row = SalesNotification.objects.get()
    row.pk = None
    with pytest.raises(Exception, match="sale_notification_unique"):
        row.save()


@pytest.mark.parametrize(("days", "count"), [(2, 1), (4, 0)])
def test_a_sale_older_than_three_days_is_silent(days: int, count: int):
    tell(won(at=NOW - days * 86400))
    assert Sale.objects.count() == 1
    assert len(told()) == count


def test_the_age_is_a_setting(settings: Settings):
    settings.NOTIFY_MAX_AGE = timedelta(days=5)
    tell(won(at=NOW - 4 * 86400))
    assert len(told()) == 1


def test_what_replay_and_resync_find_is_silent():
    tell(won(), live=False)
    tell(won(at=NOW + 1, status=bodies.LOST), live=False)
    assert Sale.objects.get().state == "reversed"
    assert told() == []


# --- Taken back ----------------------------------------------------------------------------------

GONE: list[dict[str, Any]] = [{"status": bodies.LOST}, {"status": bodies.OPEN}, {"action": "delete"}]


@pytest.mark.parametrize("how", GONE)
def test_taken_back_before_it_was_told_it_is_not_told(how: dict[str, Any]):
    chat(-1, "admin")
    arystans()
    tell(won())
    tell(won(at=NOW + 1, **how))
    assert {status for *_, status in told()} == {"cancelled"}
    assert len(told()) == 2


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("status", ["sent", "uncertain", "sending", "console"])
def test_every_chat_that_heard_of_a_sale_hears_that_it_was_taken_back(how: dict[str, Any], status: str):
    arystans()
    tell(won())
    SalesNotification.objects.update(notification_status=status)
    tell(won(at=NOW + 1, **how))
    assert told() == [
        ("sale", None, 1, status),
        ("sale", "targetologist -20", 1, status),
        ("taken_back", None, 1, "pending"),
        ("taken_back", "targetologist -20", 1, "pending"),
    ]


def test_what_failed_is_not_taken_back():
    tell(won())
    SalesNotification.objects.update(notification_status="failed")
    tell(won(at=NOW + 1, status=bodies.LOST))
    assert told() == [("sale", None, 1, "failed")]


def test_old_sales_that_were_told_are_taken_back_aloud():
    tell(won(at=NOW - 2 * 86400))
    sent()
    Sale.objects.update(sale_date=F("sale_date") - timedelta(days=30))
    tell(won(at=NOW, status=bodies.LOST))
    assert told()[1] == ("taken_back", None, 1, "pending")


def test_a_replay_that_takes_back_is_silent():
    tell(won())
    sent()
    tell(won(at=NOW + 1, status=bodies.LOST), live=False)
    assert told() == [("sale", None, 1, "sent")]


def test_restored_it_is_not_told_again_and_the_unsent_takeback_is_cancelled():
    tell(won())
    sent()
    tell(won(action="delete"))
    tell(won(action="restore"))
    assert told() == [("sale", None, 1, "sent"), ("taken_back", None, 1, "cancelled")]


def test_deleted_once_more_the_takeback_is_told_after_all():
    tell(won())
    sent()
    tell(won(action="delete"))
    tell(won(action="restore"))
    tell(won(at=NOW + 1, status=bodies.LOST))
    assert told()[1] == ("taken_back", None, 1, "pending")


def test_won_again_is_a_second_fact_with_a_takeback_of_its_own():
    for number in (1, 2):
        tell(won(at=NOW + 2 * number))
        sent()
        tell(won(at=NOW + 2 * number + 1, status=bodies.LOST))
        sent()
    assert [(kind, win) for kind, _, win, _ in told()] == [
        ("sale", 1), ("taken_back", 1), ("sale", 2), ("taken_back", 2),
    ]  # fmt: skip


# --- Waiting for the API -------------------------------------------------------------------------


@pytest.fixture
def api(settings: Settings) -> None:
    settings.AMOCRM_ACCESS_TOKEN = "token"


def waits() -> list[float]:
    rows = SalesNotification.objects.filter(notification_status="pending").order_by("id")
    return [round((row.next_attempt_at - timezone.now()).total_seconds()) for row in rows]


@pytest.mark.parametrize("lacking", [{"price": None}, {"utm_campaign": ""}])
def test_a_sale_that_lacks_its_price_or_utm_waits_a_minute_for_the_api(api: None, lacking: dict[str, Any]):
    arystans()
    tell(won(**lacking))
    assert set(waits()) == {60}


def test_a_sale_that_lacks_nothing_does_not_wait(api: None):
    tell(won())
    assert waits() == [0]


def test_without_the_api_nothing_is_waited_for():
    tell(won(price=None))
    assert waits() == [0]


def test_the_answer_ends_the_waiting(api: None):
    tell(won(price=None))
    answered(at=NOW, price=500, utm_campaign="arystan_1")
    assert waits() == [0]
    assert told() == [("sale", None, 1, "pending")]


def test_an_answer_that_does_not_know_either_does_not_end_it(api: None):
    tell(won(price=None))
    answered(at=NOW, price=None, utm_campaign="arystan_1", name="Other")
    assert waits() == [60]


def test_the_answer_with_the_utm_sends_the_message_where_it_belongs_at_once(api: None):
    chat(-1, "admin")
    tell(won(utm_campaign=""))
    answered(at=NOW, price=100, utm_campaign="arystan_1")
    assert told() == [("sale", "admin -1", 1, "cancelled"), ("sale", None, 1, "pending")]
    assert waits() == [0]


def test_an_attempt_that_failed_keeps_its_own_delay(api: None):
    tell(won(price=None))
    SalesNotification.objects.update(attempts=1, next_attempt_at=timezone.now() + timedelta(minutes=10))
    answered(at=NOW, price=500, utm_campaign="arystan_1")
    assert waits() == [600]
