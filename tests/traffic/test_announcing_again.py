"""Who hears of a sale that is won again, in another pipeline, or restored (law 8)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import Settings

from tests import bodies
from tests.traffic.announcements import NOW, arystans, sent, tell, told, won
from traffic.models import Sale, SalesNotification

pytestmark = pytest.mark.django_db


BACK_AND_TOLD_ANEW = [
    ("sale", None, 1, "sent"), ("taken_back", None, 1, "pending"), ("sale", None, 2, "pending"),
]  # fmt: skip


def test_lost_and_won_again_in_one_batch_both_are_told():
    tell(won())
    sent()
    tell(won(at=NOW + 1, status=bodies.LOST), won(at=NOW + 2))
    assert told() == BACK_AND_TOLD_ANEW


def test_and_lost_for_good_the_win_told_last_is_taken_back():
    tell(won())
    sent()
    tell(won(at=NOW + 1, status=bodies.LOST), won(at=NOW + 2))
    sent()
    tell(won(at=NOW + 3, status=bodies.LOST))
    assert told() == [
        ("sale", None, 1, "sent"), ("taken_back", None, 1, "sent"),
        ("sale", None, 2, "sent"), ("taken_back", None, 2, "pending"),
    ]  # fmt: skip


def test_lost_and_won_again_in_one_batch_before_it_was_told_is_one_message():
    tell(won())
    tell(won(at=NOW + 1, status=bodies.LOST), won(at=NOW + 2))
    assert [row for row in told() if row[3] == "pending"] == [("sale", None, 2, "pending")]


def test_older_hooks_that_come_late_number_a_win_anew_and_tell_it_once():
    tell(won())
    sent()
    tell(won(at=NOW - 20), won(at=NOW - 10, status=bodies.LOST))
    assert Sale.objects.get().win_number == 2
    assert told() == [("sale", None, 1, "sent")]
    tell(won(at=NOW + 1, status=bodies.LOST))
    assert told() == [("sale", None, 1, "sent"), ("taken_back", None, 1, "pending")]


def test_a_win_in_another_watched_pipeline_is_told(settings: Settings):
    settings.TRAFFIC_PIPELINE_IDS = [bodies.PIPELINE, 999]
    tell(won())
    sent()
    tell(won(at=NOW + 1, status=bodies.LOST))
    sent()
    tell(won(at=NOW + 2, pipeline=999))
    assert told() == [
        ("sale", None, 1, "sent"), ("taken_back", None, 1, "sent"), ("sale", None, 2, "pending"),
    ]  # fmt: skip


def test_lost_and_won_in_another_watched_pipeline_in_one_batch_both_are_told(settings: Settings):
    settings.TRAFFIC_PIPELINE_IDS = [bodies.PIPELINE, 999]
    tell(won())
    sent()
    tell(won(at=NOW + 1, status=bodies.LOST), won(at=NOW + 2, pipeline=999))
    assert told() == BACK_AND_TOLD_ANEW


def test_an_earlier_win_in_another_pipeline_that_comes_late_is_told_no_second_time(settings: Settings):
    settings.TRAFFIC_PIPELINE_IDS = [bodies.PIPELINE, 999]
    tell(won())
    sent()
    tell(won(at=NOW - 5, pipeline=999))
    assert Sale.objects.get().pipeline_id == 999
    assert told() == [("sale", None, 1, "sent")]


def test_a_sale_lost_in_silence_is_taken_back_before_the_next_win_is_told():
    tell(won())
    sent()
    tell(won(at=NOW + 1, status=bodies.LOST), live=False)
    tell(won(at=NOW + 2))
    assert told() == BACK_AND_TOLD_ANEW


def test_what_replay_finds_won_again_is_silent_and_what_waits_is_told():
    tell(won())
    tell(won(at=NOW + 1, status=bodies.LOST), won(at=NOW + 2), live=False)
    assert told() == [("sale", None, 1, "pending")]


# --- Restored ------------------------------------------------------------------------------------


def test_restored_after_it_was_told_that_it_was_taken_back_it_is_told_once():
    arystans()
    tell(won())
    sent()
    tell(won(action="delete"))
    sent()
    tell(won(action="restore"))
    tell(won(action="restore"))
    assert told()[4:] == [
        ("restored", None, 2, "pending"),
        ("restored", "targetologist -20", 2, "pending"),
    ]


def test_and_deleted_a_second_time_and_restored_a_second_time():
    tell(won())
    sent()
    for _ in range(2):
        tell(won(action="delete"))
        sent()
        tell(won(action="restore"))
        sent()
    assert [(kind, number) for kind, _, number, _ in told()] == [
        ("sale", 1), ("taken_back", 1), ("restored", 2), ("taken_back", 2), ("restored", 3),
    ]  # fmt: skip


def test_deleted_again_before_the_restoring_was_told_neither_is():
    tell(won())
    sent()
    tell(won(action="delete"))
    sent()
    tell(won(action="restore"))
    tell(won(action="delete"))
    assert told()[2:] == [("restored", None, 2, "cancelled")]
    tell(won(action="restore"))
    assert told()[2:] == [("restored", None, 2, "pending")]


def test_an_old_sale_is_restored_aloud_where_it_was_taken_back_aloud_and_nowhere_else(settings: Settings):
    tell(won())
    sent()
    tell(won(action="delete"))
    sent()
    arystans()
    settings.NOTIFY_MAX_AGE = timedelta()
    tell(won(action="restore"))
    assert told()[2:] == [("restored", None, 2, "pending")]


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_a_taking_back_that_did_not_arrive_is_dropped_and_the_restoring_not_told(status: str):
    tell(won())
    sent()
    tell(won(action="delete"))
    SalesNotification.objects.filter(kind="taken_back").update(notification_status=status)
    tell(won(action="restore"))
    assert told() == [("sale", None, 1, "sent"), ("taken_back", None, 1, "cancelled")]


def test_a_replay_that_restores_is_silent():
    tell(won())
    sent()
    tell(won(action="delete"))
    sent()
    tell(won(action="restore"), live=False)
    assert len(told()) == 2


def test_a_sale_that_came_back_to_its_first_owner_before_it_was_told_is_told():
    arystans()
    tell(won())
    tell(won(at=NOW + 1, action="update", utm_campaign="tripwire"))
    tell(won(at=NOW + 2, action="update"))
    assert told() == [("sale", None, 1, "pending"), ("sale", "targetologist -20", 1, "pending")]
