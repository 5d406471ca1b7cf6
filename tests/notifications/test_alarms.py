from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from notifications import alarms
from notifications.models import Alarm, AlarmMessage, TelegramChat
from notifications.telegram import TOKEN_REFUSED
from onai_project.alarms import business_time
from tests.onai_project.rows import make_user
from traffic.models import SalesNotification
from webhooks.models import (
    ApiState,
    Heartbeat,
    Reconciliation,
    ReconciliationFinding,
    WebhookDelivery,
    WebhookRefusal,
)

pytestmark = pytest.mark.django_db
ALMATY = ZoneInfo("Asia/Almaty")


@pytest.fixture
def leak(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One check alone, which says what the test puts there."""
    said: dict[str, Any] = {"problem": ""}
    monkeypatch.setattr(alarms, "_checks", {})

    @alarms.register("leak", "Протечка <b>&")
    def check() -> str:
        if isinstance(said["problem"], Exception):
            raise said["problem"]
        return str(said["problem"])

    return said


def admin_chat(number: int = -5, **fields: Any) -> TelegramChat:
    return TelegramChat.objects.create(chat_id=number, kind="admin", **fields)


def miss_a_hook(*, ago: timedelta = timedelta(hours=3), kind: str = "won", lead_id: int = 1) -> None:
    now = timezone.now()
    run = Reconciliation.objects.create(since=now, done_until=now, until=now)
    ReconciliationFinding.objects.create(run=run, lead_id=lead_id, kind=kind, at=now - ago)


def trouble(kind: str, *, ago: timedelta = timedelta()) -> None:
    ApiState.objects.create(trouble=kind, failures=1, failed_since=timezone.now() - ago, detail="GET /x: 4xx")


def problems() -> set[str]:
    return {finding.check.name for finding in alarms.look() if finding.problem}


def test_an_alarm_is_told_once_when_it_starts_and_once_when_it_ends(leak: dict[str, Any]):
    chat = admin_chat()
    admin_chat(-6, active=False)
    TelegramChat.objects.create(chat_id=-7)
    for problem in ("", "water <1>", "water <1>", "more water", "", "", "again"):
        leak["problem"] = problem
        alarms.look_and_tell()
    told = list(AlarmMessage.objects.order_by("id").values_list("chat", "kind", "alarm__text"))
    assert told == [(chat.pk, "started", "more water"), (chat.pk, "ended", "more water"), (chat.pk, "started", "again")]
    assert Alarm.objects.filter(ended_at=None).count() == 1
    started, ended, _ = AlarmMessage.objects.order_by("id")
    assert "🚨 <b>Протечка &lt;b&gt;&amp;</b>" in started.render()
    assert "more water" in started.render()
    assert "/admin/state/" in started.render()
    assert ended.render() == "✅ <b>Снова в порядке: Протечка &lt;b&gt;&amp;</b>"


def test_another_dead_delivery_is_told_of_beside_one_that_nobody_mended():
    chat = TelegramChat.objects.create(chat_id=-9, kind=TelegramChat.Kind.ADMIN)
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    for _ in range(2):
        WebhookDelivery.objects.create(source="amocrm", body=b"", status="dead")
        alarms.look_and_tell()
        alarms.look_and_tell()
    told = AlarmMessage.objects.filter(alarm__name="dead").order_by("id")
    assert [(row.chat, row.kind) for row in told] == [(chat, "started")] * 2
    first, second = (row.alarm.text for row in told)
    assert first != second
    assert Alarm.objects.filter(name="dead", ended_at=None).count() == 1


def test_without_a_chat_the_alarm_stands_all_the_same(leak: dict[str, Any]):
    leak["problem"] = "water"
    alarms.look_and_tell()
    assert list(Alarm.objects.values_list("name", "text")) == [("leak", "water")]


def test_a_check_that_fails_is_a_finding_and_stops_no_other(leak: dict[str, Any]):
    alarms.register("other", "Other")(lambda: "something else")
    leak["problem"] = RuntimeError("the check is broken")
    assert [finding.problem for finding in alarms.look_and_tell()][1] == "something else"
    assert "RuntimeError: the check is broken" in Alarm.objects.get(name="leak").text


def test_a_name_is_one_check(leak: dict[str, Any]):
    with pytest.raises(ValueError, match="leak"):
        alarms.register("leak", "Another")(lambda: "")


def test_the_database_keeps_one_standing_alarm_of_a_name():
    Alarm.objects.create(name="a", text="x")
    with pytest.raises(IntegrityError), transaction.atomic():
        Alarm.objects.create(name="a", text="y")


def test_a_healthy_system_has_no_findings():
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    assert problems() == set()


BREAKS = pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("worker", lambda: Heartbeat.objects.update(seen_at=timezone.now() - timedelta(seconds=30))),
        ("dead", lambda: WebhookDelivery.objects.create(source="amocrm", body=b"", status="dead")),
        (
            "queue",
            lambda: WebhookDelivery.objects.create(
                source="amocrm", body=b"", next_attempt_at=timezone.now() - timedelta(seconds=61)
            ),
        ),
        (
            "refused",
            lambda: WebhookRefusal.objects.create(
                hour=timezone.now().replace(minute=0, second=0, microsecond=0),
                source="amocrm",
                reason="secret",
                count=1,
            ),
        ),
        (
            "silence",
            lambda: WebhookDelivery.objects.create(
                source="amocrm", body=b"", status="processed", received_at=timezone.now() - timedelta(days=4)
            ),
        ),
        (
            "messages",
            lambda: SalesNotification.objects.create(
                lead_id=1, win_number=1, sale_date=timezone.now(), notification_status="failed"
            ),
        ),
        (
            "messages",
            lambda: SalesNotification.objects.create(
                lead_id=1, win_number=1, sale_date=timezone.now(), created_at=timezone.now() - timedelta(minutes=11)
            ),
        ),
        (
            "token",
            lambda: SalesNotification.objects.create(lead_id=1, sale_date=timezone.now(), error=TOKEN_REFUSED),
        ),
        ("missed", miss_a_hook),
        ("amocrm_api", lambda: trouble("token")),
        ("amocrm_api", lambda: trouble("unpaid")),
        ("amocrm_api", lambda: trouble("blocked", ago=timedelta(minutes=11))),
        ("hook", lambda: ApiState.objects.create(hook_problem="there is no hook to this site")),
        ("chats", lambda: TelegramChat.objects.create(chat_id=-1, active=False, disabled_reason="kicked")),
    ],
)


@BREAKS
def test_each_check_finds_its_own_trouble(name: str, break_it: Any, settings: Any):
    settings.AMOCRM_ACCESS_TOKEN = "a-token"
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    break_it()
    assert problems() == {name}


def test_messages_to_a_refused_chat_are_that_chats_alarm_alone():
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    TelegramChat.objects.create(chat_id=-1, active=False, disabled_reason="kicked")
    SalesNotification.objects.create(lead_id=1, sale_date=timezone.now(), notification_status="failed", error="kicked")
    assert problems() == {"chats"}


def test_a_referrer_who_blocked_the_bot_is_no_alarm():
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    TelegramChat.objects.create(chat_id=1, kind="referrer", active=False, disabled_reason="blocked")
    assert problems() == set()


def test_an_alarm_that_something_else_tells_of_stands_and_is_not_told(leak: dict[str, Any]):
    admin_chat()
    alarms.register("quiet", "Quiet", told=False)(lambda: "wrong")
    alarms.look_and_tell()
    assert list(Alarm.objects.values_list("name", flat=True)) == ["quiet"]
    assert not AlarmMessage.objects.exists()


@BREAKS
def test_each_alarm_is_told_once_when_it_starts_and_once_when_it_ends(name: str, break_it: Any, settings: Any):
    settings.AMOCRM_ACCESS_TOKEN = "a-token"
    chat = admin_chat()
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now() + timedelta(hours=1))
    alarms.look_and_tell()
    break_it()
    for _ in range(3):
        alarms.look_and_tell()
    for model in (WebhookDelivery, WebhookRefusal, SalesNotification, ReconciliationFinding, ApiState):
        model.objects.all().delete()
    TelegramChat.objects.exclude(pk=chat.pk).delete()
    Heartbeat.objects.update(seen_at=timezone.now() + timedelta(hours=1))
    for _ in range(3):
        alarms.look_and_tell()
    told = list(AlarmMessage.objects.order_by("id").values_list("alarm__name", "kind"))
    # Of a chat people are told when it happens (notifications/chats.py), not by the clock.
    assert told == ([] if name == "chats" else [(name, "started"), (name, "ended")])


def test_what_amocrm_waits_out_by_itself_and_history_are_no_trouble(settings: Any):
    settings.AMOCRM_ACCESS_TOKEN = "a-token"
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    trouble("away", ago=timedelta(minutes=9))
    miss_a_hook(ago=timedelta(days=9))
    miss_a_hook(kind="differs")
    miss_a_hook(lead_id=2)
    ReconciliationFinding.objects.filter(lead_id=2).update(found_at=timezone.now() - timedelta(hours=25))
    assert problems() == set()


def test_without_a_token_the_api_and_the_hook_are_nobodys_trouble():
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    ApiState.objects.create(trouble="token", failed_since=timezone.now(), hook_problem="there is no hook to this site")
    assert problems() == set()


def test_silence_can_be_switched_off(settings: Any):
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    WebhookDelivery.objects.create(
        source="amocrm", body=b"", status="processed", received_at=timezone.now() - timedelta(days=4)
    )
    settings.SILENCE_HOURS = 0
    assert problems() == set()


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        ((24, 10), (24, 12), 2),
        ((24, 20), (25, 10), 2),
        ((24, 22), (25, 8), 0),
        ((24, 3), (24, 23), 12),
        ((20, 21), (24, 9), 36),
    ],
)
def test_business_time_is_nine_to_nine_in_almaty(since: Any, until: Any, hours: int):
    start, end = (datetime(2026, 11, day, hour, tzinfo=ALMATY) for day, hour in (since, until))
    assert business_time(start, end) == timedelta(hours=hours)


def test_check_health_prints_each_and_fails_when_something_is_wrong():
    out = StringIO()
    with pytest.raises(CommandError, match=f"1 of {len(alarms.look())} checks"):
        call_command("check_health", stdout=out)
    assert "WRONG" in out.getvalue()
    assert out.getvalue().count("ok   ") == len(alarms.look()) - 1
    Heartbeat.objects.create(name="inbox", seen_at=timezone.now())
    call_command("check_health", stdout=StringIO())
    assert not Alarm.objects.exists()


@pytest.mark.parametrize("token", ["", "a-token"])
def test_the_page_says_when_amocrm_is_not_asked(client: Client, settings: Any, token: str):
    settings.AMOCRM_ACCESS_TOKEN = token
    client.force_login(make_user("admin", superuser=True))
    assert ("AMOCRM_ACCESS_TOKEN" in client.get("/admin/state/").content.decode()) is not bool(token)


def test_the_page_shows_what_stands_and_what_ended(client: Client):
    client.force_login(make_user("admin", superuser=True))
    WebhookDelivery.objects.create(source="amocrm", body=b"", status="dead")
    alarms.look_and_tell()
    Alarm.objects.create(name="silence", text="Было <тихо>", ended_at=timezone.now())
    page = client.get("/admin/state/").content.decode()
    assert "Обработать заново" in page
    assert "Было &lt;тихо&gt;" in page
    assert page.count("panel-wrong") == 2  # dead, and no worker
