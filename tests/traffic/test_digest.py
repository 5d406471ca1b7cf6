"""Digests: what they say, when they are due, and that each arrives once."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from notifications.models import TelegramChat
from notifications.sender import Sender, run
from onai_project.periods import Period
from tests.fakes import TOKEN, FakeBotApi
from tests.notifications.helpers import wait_for
from tests.onai_project.rows import make_sale, make_user
from traffic import digest, messages, tasks
from traffic.models import Digest, DigestSchedule, Targetologist

pytestmark = pytest.mark.django_db
ALMATY = ZoneInfo("Asia/Almaty")
NASTY = '<b>&"_*'
SATURDAY = date(2025, 12, 20)
MONDAY = date(2025, 12, 15)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def installation(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "ru"
    settings.SITE_URL = "https://sales.example"


def almaty(*when: int) -> datetime:
    return datetime(*when, tzinfo=ALMATY)  # type: ignore[misc,arg-type]


def schedule(kind: str = "daily", **columns: Any) -> DigestSchedule:
    return DigestSchedule(**{"kind": kind, "at": time(9), "weekday": 0, "since": LONG_AGO, **columns})


@pytest.fixture
def daily() -> DigestSchedule:
    """The seeded schedule, as if it had always been there."""
    DigestSchedule.objects.filter(kind="weekly").delete()
    DigestSchedule.objects.update(since=LONG_AGO)
    return DigestSchedule.objects.get()


def sold(lead_id: int, *when: int, amount: int | None = 100_000, who: str | None = None, **fields: Any) -> None:
    person = Targetologist.objects.get(slug=who) if who else None
    price = None if amount is None else Decimal(amount)
    make_sale(lead_id, when=almaty(*when), sale_amount=price, targetologist=person, **fields)


# --- What it says --------------------------------------------------------------------------------


def test_a_day_reads_like_this():
    sold(1, 2025, 12, 20, 0, 0, who="muha")
    sold(2, 2025, 12, 20, 12, 0, who="muha", amount=250_000)
    sold(3, 2025, 12, 20, 23, 59, who="kenesary", amount=400_000)
    sold(4, 2025, 12, 20, 12, 0, amount=None)
    sold(5, 2025, 12, 20, 12, 0, channel="referral", amount=50_000)
    sold(6, 2025, 12, 19, 23, 59, who="muha", amount=1_000_000)
    sold(7, 2025, 12, 21, 0, 0, who="muha", amount=77)
    sold(8, 2025, 12, 20, 12, 0, who="muha", amount=77, state="reversed")
    queue = messages.queue_url().replace("&", "&amp;")
    assert digest.digest_text(kind="daily", date=SATURDAY) == (
        "📊 <b>Итоги дня: 20.12.2025</b>\n"
        "\n"
        "<b>5 продаж, 800\u2009000\u2009₸</b> (−20 %)\n"
        "Днём раньше: 1 продажа, 1\u2009000\u2009000\u2009₸\n"
        "У 1 продажи сумма неизвестна.\n"
        "\n"
        "1. Kenesary 👑 — 1 продажа, 400\u2009000\u2009₸\n"
        "2. Muha 🚀 — 2 продажи, 350\u2009000\u2009₸\n"
        "\n"
        "Реферал — 1 продажа, 50\u2009000\u2009₸\n"
        f'❓ <a href="{queue}">Без таргетолога</a> — 1 продажа, —\n'
        "\n"
        '<a href="https://sales.example/admin/traffic/dashboard/?from=2025-12-20&amp;to=2025-12-20">'
        "Дашборд трафика</a>"
    )


def test_a_week_reads_like_this():
    sold(1, 2025, 12, 15, 0, 0, who="muha")
    sold(2, 2025, 12, 21, 23, 59, who="muha")
    sold(3, 2025, 12, 14, 23, 59, who="muha", amount=50_000)
    sold(4, 2025, 12, 8, 0, 0, who="muha", amount=50_000)
    sold(5, 2025, 12, 7, 23, 59, who="muha")
    assert digest.digest_text(kind="weekly", date=MONDAY) == (
        "📊 <b>Итоги недели: 15.12.2025 – 21.12.2025</b>\n"
        "\n"
        "<b>2 продажи, 200\u2009000\u2009₸</b> (+100 %)\n"
        "Неделей раньше: 2 продажи, 100\u2009000\u2009₸\n"
        "\n"
        "1. Muha 🚀 — 2 продажи, 200\u2009000\u2009₸\n"
        "\n"
        '<a href="https://sales.example/admin/traffic/dashboard/?from=2025-12-15&amp;to=2025-12-21">'
        "Дашборд трафика</a>"
    )


def test_a_day_without_sales_is_a_line():
    sold(1, 2025, 12, 19, 12, 0)
    assert digest.digest_text(kind="daily", date=SATURDAY) == "📊 <b>Итоги дня: 20.12.2025</b>: продаж не было"


def test_a_week_without_sales_is_a_line():
    assert digest.digest_text(kind="weekly", date=MONDAY) == (
        "📊 <b>Итоги недели: 15.12.2025 – 21.12.2025</b>: продаж не было"
    )


def test_names_are_escaped():
    Targetologist.objects.filter(slug="muha").update(name=NASTY)
    sold(1, 2025, 12, 20, 12, 0, who="muha")
    assert "1. &lt;b&gt;&amp;&quot;_* 🚀 — 1 продажа" in digest.digest_text(kind="daily", date=SATURDAY)


@pytest.mark.parametrize(("now", "before"), [(None, 100), (100, None), (100, 0), (0, 100)])
def test_what_cannot_be_compared_is_not(now: int | None, before: int | None):
    sold(1, 2025, 12, 20, 12, 0, amount=now)
    sold(2, 2025, 12, 19, 12, 0, amount=before)
    assert "%" not in digest.digest_text(kind="daily", date=SATURDAY).split("<a")[0]


def test_the_parts_add_up_to_the_total():
    for number, who in enumerate(("muha", "kenesary", None, "traf4", None)):
        sold(number, 2025, 12, 20, 12, 0, who=who, amount=number or None)
    sold(9, 2025, 12, 20, 12, 0, channel="referral")
    facts = digest.select_facts(Period(SATURDAY, SATURDAY))
    parts = [totals for _, totals in facts.ranking] + [facts.unattributed, facts.referrals]
    assert (facts.totals.sales, facts.totals.known, facts.totals.without_amount) == (6, 100_010, 1)
    assert sum(part.sales for part in parts) == 6
    assert sum(part.known for part in parts) == 100_010


def test_before_march_2024_a_day_is_utc_plus_six():
    make_sale(1, when=datetime(2024, 2, 28, 18, 0, tzinfo=UTC))
    make_sale(2, when=datetime(2024, 2, 28, 17, 59, tzinfo=UTC))
    assert digest.select_facts(Period(date(2024, 2, 29), date(2024, 2, 29))).totals.sales == 1


# --- When it is due ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "newest"),
    [((2025, 12, 21, 8, 59), date(2025, 12, 19)), ((2025, 12, 21, 9, 0), SATURDAY), ((2025, 12, 21, 23, 59), SATURDAY)],
)
def test_a_days_digest_is_due_the_next_day_at_its_time_in_almaty(now: Any, newest: date):
    assert digest.due_dates(schedule(), almaty(*now))[-1] == newest


@pytest.mark.parametrize(
    ("weekday", "now", "newest"),
    [
        (0, (2025, 12, 22, 8, 59), None),
        (0, (2025, 12, 22, 9, 0), MONDAY),
        (0, (2025, 12, 28, 23, 0), MONDAY),
        (4, (2025, 12, 26, 8, 59), None),
        (4, (2025, 12, 26, 9, 0), MONDAY),
        (6, (2025, 12, 28, 9, 0), MONDAY),
    ],
)
def test_a_weeks_digest_is_due_on_its_weekday_after_sunday(weekday: int, now: Any, newest: date | None):
    since = almaty(2025, 12, 22, 0, 0)
    assert digest.due_dates(schedule("weekly", weekday=weekday, since=since), almaty(*now))[-1:] == (
        [newest] if newest else []
    )


def test_what_was_due_before_the_schedule_began_is_not_sent():
    since = almaty(2025, 12, 20, 9, 1)
    assert digest.due_dates(schedule(since=since), almaty(2025, 12, 21, 10, 0)) == [SATURDAY]


@given(
    kind=st.sampled_from(["daily", "weekly"]),
    at=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    weekday=st.integers(0, 6),
    start=st.datetimes(datetime(2024, 2, 20), datetime(2024, 3, 12)),
    ticks=st.lists(st.integers(1, 6 * 24 * 60), min_size=1, max_size=12),
)
def test_whatever_the_ticks_each_date_comes_once_and_none_is_lost(
    kind: str, at: time, weekday: int, start: datetime, ticks: list[int]
):
    """The clock ticks late and seldom, at most six days apart; across the change of the offset, too."""
    begins = start.replace(tzinfo=ALMATY)
    one = schedule(kind, at=at, weekday=weekday, since=begins)
    seen: list[date] = []
    now = begins
    for minutes in ticks:
        now += timedelta(minutes=minutes)
        seen += [day for day in digest.due_dates(one, now) if day not in seen]
    expected = []
    day = date(2024, 1, 1) if kind == "weekly" else date(2024, 2, 1)
    step = timedelta(days=7 if kind == "weekly" else 1)
    while day < date(2024, 7, 1):
        due = datetime.combine(day + step + timedelta(days=weekday if kind == "weekly" else 0), at, tzinfo=ALMATY)
        expected += [day] if begins < due <= now else []
        day += step
    assert sorted(seen) == seen == expected


def test_the_clock_writes_a_digest_once(daily: DigestSchedule):
    with time_machine.travel(almaty(2025, 12, 21, 9, 0), tick=False):
        DigestSchedule.objects.update(since=almaty(2025, 12, 20, 9, 0))
        tasks.send_due_digests(timestamp=0)
        tasks.send_due_digests(timestamp=0)
    assert list(Digest.objects.values_list("kind", "date", "chat", "notification_status")) == [
        ("daily", SATURDAY, None, "pending")
    ]


def test_what_an_outage_kept_is_written_late_and_in_order(daily: DigestSchedule):
    digest.write_due_digests(now=almaty(2025, 12, 18, 9, 0))
    Digest.objects.update(notification_status="sent")
    assert digest.write_due_digests(now=almaty(2025, 12, 21, 15, 0)) == 3
    written = Digest.objects.filter(notification_status="pending").order_by("id")
    assert [row.date.day for row in written] == [18, 19, 20]


def test_a_schedule_that_is_off_and_a_chat_that_is_off_get_none(daily: DigestSchedule):
    DigestSchedule.objects.update(active=False)
    assert digest.write_due_digests(now=almaty(2025, 12, 21, 9, 0)) == 0
    off = TelegramChat.objects.create(chat_id=-3, active=False)
    DigestSchedule.objects.update(active=True, chat=off)
    assert digest.write_due_digests(now=almaty(2025, 12, 21, 9, 0)) == 0


def test_each_chat_has_its_own(daily: DigestSchedule):
    own = TelegramChat.objects.create(chat_id=-3, kind="targetologist")
    schedule(chat=own, since=almaty(2025, 12, 20, 12, 0)).save()
    DigestSchedule.objects.update(since=almaty(2025, 12, 20, 12, 0))
    assert digest.write_due_digests(now=almaty(2025, 12, 21, 9, 0)) == 2


@pytest.mark.parametrize("later", ["09:00", "10:00"])
def test_the_common_chat_has_one_whether_its_schedule_names_it_or_not(daily: DigestSchedule, later: str):
    common = TelegramChat.objects.create(chat_id=-1)
    since = almaty(2025, 12, 20, 12, 0)
    schedule(chat=common, since=since, at=time.fromisoformat(later)).save()
    DigestSchedule.objects.update(since=since)
    for hour in (9, 10):
        digest.write_due_digests(now=almaty(2025, 12, 21, hour, 0))
    assert Digest.objects.get().chat is None


def test_what_the_common_chat_got_under_its_own_name_it_does_not_get_again(daily: DigestSchedule):
    Digest.objects.create(kind="daily", date=SATURDAY, chat=TelegramChat.objects.create(chat_id=-1))
    DigestSchedule.objects.update(since=almaty(2025, 12, 20, 12, 0))
    assert digest.write_due_digests(now=almaty(2025, 12, 21, 9, 0)) == 0


def test_the_database_keeps_a_digest_unique_for_the_common_chat_too():
    Digest.objects.create(kind="daily", date=SATURDAY)
    with pytest.raises(IntegrityError, match="digest_once"), transaction.atomic():
        Digest.objects.create(kind="daily", date=SATURDAY)


@pytest.mark.django_db(transaction=True)
def test_three_workers_clocks_and_senders_send_exactly_one(settings: Settings):
    DigestSchedule.objects.all().delete()
    DigestSchedule.objects.create(kind="daily", since=almaty(2025, 12, 20, 12, 0))
    TelegramChat.objects.create(chat_id=-1)
    start = threading.Barrier(3)
    stop = threading.Event()

    def work() -> None:
        start.wait(5)
        digest.write_due_digests(now=almaty(2025, 12, 21, 9, 0))
        connection.close()
        run(stop)

    with FakeBotApi() as api:
        settings.TELEGRAM_API_URL, settings.TELEGRAM_BOT_TOKEN = api.url, TOKEN
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_for(Digest.objects.filter(notification_status="sent").exists, 10)
        finally:
            stop.set()
        for thread in threads:
            thread.join(10)
    assert api.texts == ["📊 <b>Итоги дня: 20.12.2025</b>: продаж не было"]
    assert Digest.objects.count() == 1


def test_it_goes_the_way_of_every_message(daily: DigestSchedule, capsys: pytest.CaptureFixture[str]):
    Digest.objects.create(kind="daily", date=SATURDAY)
    Sender(None).send_pending()
    assert "Итоги дня: 20.12.2025: продаж не было" in capsys.readouterr().out


# --- By hand, in the admin -----------------------------------------------------------------------


def command(*arguments: str) -> str:
    out = StringIO()
    with time_machine.travel(almaty(2025, 12, 21, 0, 30), tick=False):
        call_command("send_digest", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "first_line"),
    [
        ([], "📊 Итоги дня: 20.12.2025"),
        (["daily"], "📊 Итоги дня: 20.12.2025"),
        (["daily", "--date", "2025-12-01"], "📊 Итоги дня: 01.12.2025"),
        (["daily", "--date", "2025-12-21"], "📊 Итоги дня: 21.12.2025"),
        (["weekly", "--date", "2025-12-21"], "📊 Итоги недели: 15.12.2025 – 21.12.2025"),
        (["weekly"], "📊 Итоги недели: 08.12.2025 – 14.12.2025"),
        (["weekly", "--date", "2025-12-03"], "📊 Итоги недели: 01.12.2025 – 07.12.2025"),
    ],
)
def test_dry_run_prints_it_and_sends_nothing(arguments: list[str], first_line: str):
    assert command(*arguments, "--dry-run").startswith(first_line)
    assert not Digest.objects.exists()


def test_dry_run_prints_no_tags():
    sold(1, 2025, 12, 20, 12, 0, who="muha")
    said = command("--dry-run")
    assert "1. Muha 🚀 — 1 продажа" in said
    assert "<" not in said


def test_the_command_sends_it_once():
    assert "the common chat: will be sent" in command("daily")
    assert "the common chat: has it already" in command("daily")
    assert Digest.objects.count() == 1


def test_the_command_sends_nothing_of_a_day_that_is_not_over():
    with pytest.raises(CommandError, match="not over yet: see with --dry-run"):
        command("daily", "--date", "2025-12-21")
    with pytest.raises(CommandError, match="not begun"):
        command("daily", "--date", "2025-12-22", "--dry-run")


def test_the_command_says_where_to_enter_a_chat():
    DigestSchedule.objects.all().delete()
    with pytest.raises(CommandError, match="Digest schedules"):
        command("daily")


def save(client: Client, one: DigestSchedule, **fields: Any) -> None:
    form = {"kind": one.kind, "chat": one.chat_id or "", "at": "09:00", "weekday": 0, "active": "on", **fields}
    answer = client.post(reverse("admin:traffic_digestschedule_change", args=[one.pk]), form)
    assert answer.status_code == 302
    one.refresh_from_db()


def test_switched_on_again_it_sends_nothing_of_the_time_between(client: Client, daily: DigestSchedule):
    client.force_login(make_user("boss", superuser=True))
    save(client, daily, at="10:00")
    assert daily.since == LONG_AGO
    save(client, daily, active="")
    save(client, daily)
    assert datetime.now(UTC) - daily.since < timedelta(minutes=1)


def test_for_another_chat_it_begins_anew(client: Client, daily: DigestSchedule):
    client.force_login(make_user("boss", superuser=True))
    save(client, daily, chat=TelegramChat.objects.create(chat_id=-3).pk)
    assert datetime.now(UTC) - daily.since < timedelta(minutes=1)


def test_daily_and_weekly_are_there_from_the_start():
    assert list(DigestSchedule.objects.values_list("kind", "chat", "at", "weekday", "active")) == [
        ("daily", None, time(9), 0, True),
        ("weekly", None, time(9, 30), 0, True),
    ]
