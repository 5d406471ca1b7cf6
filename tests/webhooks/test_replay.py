from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from referrals.models import Earning
from tests import bodies
from traffic.models import Sale, SalesNotification
from webhooks import inbox
from webhooks.merge import DealState
from webhooks.models import Source, WebhookDelivery, WebhookLog
from webhooks.reasons import WORKER_DIED, because
from webhooks.replay import replay, resync, select_deliveries
from webhooks.retention import drop_bodies
from webhooks.signals import deal_by_deal_on_failure, deals_changed
from webhooks.tasks import drop_old_bodies

# Replay has connections of its own, which see only what is committed.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]
NOW = int(time.time())
CONNECTION = ("dbname", "user", "password", "host", "port")
TABLES = (
    "webhook_deliveries", "webhook_logs", "deals", "deal_transitions", "all_sales_tracking", "sales_notifications",
    "referrers", "referral_conversions", "referral_earnings",
)  # fmt: skip


def command(name: str, *arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(name, *arguments, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def versions(*tables: str) -> dict[str, list[Any]]:
    """Return every row with where it lies and who wrote it last."""
    found = {}
    with connection.cursor() as cursor:
        for table in tables or TABLES:
            cursor.execute(f"SELECT ctid, xmin, * FROM {table} ORDER BY 3")
            found[table] = cursor.fetchall()
    return found


@pytest.fixture
def history() -> list[int]:
    """Twelve deliveries, processed: sales, a referral that is taken back, an invalid body."""
    told = [bodies.hook(lead, at=NOW - lead, price=lead * 100, utm_source=f"ref_{lead % 3}") for lead in range(1, 10)]
    told += [bodies.hook(3, at=NOW, status=bodies.LOST), b"contacts[add][0][id]=1"]
    ids = [
        WebhookDelivery.objects.create(source=Source.values[number % 2], body=body, content_type=bodies.FORM).pk
        for number, body in enumerate(told)
    ]
    invalid = WebhookDelivery.objects.create(source="amocrm", body=b"{", status="invalid", error_message="not JSON")
    while inbox.process_due():
        pass
    return [*ids, invalid.pk]


def test_process_webhooks_drains_the_queue():
    for lead in range(3):
        WebhookDelivery.objects.create(source="amocrm", body=bodies.hook(lead + 1), content_type=bodies.FORM)
    assert command("process_webhooks") == "processed 3 deliveries\n"
    assert command("process_webhooks") == "processed 0 deliveries\n"


def test_replay_refuses_to_run_without_a_scope(history: list[int]):
    with pytest.raises(CommandError, match="--all"):
        command("replay_webhooks")


def test_replay_of_everything_writes_nothing_when_nothing_changed(history: list[int]):
    tables = [table for table in TABLES if table != "webhook_deliveries"]
    command("replay_webhooks", "--all")  # the invalid body gets its row in the log
    before = versions(*tables)
    out = command("replay_webhooks", "--all")
    assert versions(*tables) == before
    assert out.startswith("12 deliveries\n")
    assert "replayed 12 deliveries with 12 logged events" in out
    assert "1 of them failed, dead or invalid" in out


def test_a_dry_run_says_how_many_and_changes_nothing(history: list[int]):
    Sale.objects.all().delete()
    assert command("replay_webhooks", "--all", "--dry-run") == "12 deliveries\n"
    assert not Sale.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--status", "invalid"], 1),
        (["--source", "amocrm_traffic"], 6),
        (["--source", "amocrm_traffic", "amocrm_referral"], 11),
        (["--lead", "3"], 2),
        (["--lead", "3", "4"], 3),
        (["--since", "2020-01-01"], 12),
        (["--until", "2020-01-01T10:00"], 0),
    ],
)
def test_each_filter(history: list[int], arguments: list[str], count: int):
    assert command("replay_webhooks", *arguments, "--dry-run") == f"{count} deliveries\n"


def test_replay_by_id(history: list[int]):
    assert command("replay_webhooks", "--id", *map(str, history[:2]), "--dry-run") == "2 deliveries\n"


@pytest.mark.parametrize("wrong", ["yesterday", "2025-13-01", "20.12.2025"])
def test_a_wrong_date_is_a_sentence(wrong: str):
    with pytest.raises(CommandError, match="2025-12-20"):
        command("replay_webhooks", "--since", wrong)


def test_replay_goes_on_after_what_is_done(history: list[int]):
    assert command("replay_webhooks", "--all", "--after", str(history[6]), "--dry-run") == "5 deliveries\n"
    Sale.objects.all().delete()
    command("replay_webhooks", "--all", "--after", str(history[6]))
    assert sorted(Sale.objects.values_list("lead_id", flat=True)) == [3, 8, 9]  # 3 was taken back by then


def test_replay_yields_in_order_and_resync_too(history: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inbox, "BATCH", 5)
    assert list(replay(select_deliveries())) == [(5, history[4]), (5, history[9]), (2, history[11])]
    assert list(replay(select_deliveries(), after=history[4])) == [(5, history[9]), (2, history[11])]
    assert list(resync("traffic")) == [(5, 5, {}), (4, 9, {})]
    assert list(resync("traffic", after=5)) == [(4, 9, {})]


def test_an_app_without_an_endpoint_is_resynced_and_it_alone(history: list[int]):
    told: list[int] = []

    def keep_places(deals: Sequence[DealState], *, live: bool) -> None:
        assert not live
        told.extend(deal.lead_id for deal in deals)

    keep_places.__module__ = "courses.receivers"
    receiver = deal_by_deal_on_failure(keep_places)
    Sale.objects.all().delete()
    deals_changed.connect(receiver, weak=False)
    try:
        assert "told courses of 9 deals" in command("resync", "courses")
        with pytest.raises(CommandError, match=r"invalid choice: 'webhooks' .*courses.*referrals.*traffic"):
            command("resync", "webhooks")
    finally:
        deals_changed.disconnect(receiver)
    assert told == list(range(1, 10))
    assert not Sale.objects.exists()


@pytest.mark.parametrize("name", ["replay_webhooks", "resync"])
def test_ctrl_c_says_where_to_go_on(history: list[int], monkeypatch: pytest.MonkeyPatch, name: str):
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        yield (5, 77, {})[: 3 if name == "resync" else 2]
        raise KeyboardInterrupt

    monkeypatch.setattr(f"webhooks.management.commands.{name}.{name.removesuffix('_webhooks')}", interrupted)
    with pytest.raises(CommandError, match=r"interrupted after 5 of \d+; .* --after 77"):
        command(name, *(["traffic"] if name == "resync" else ["--all"]))


@pytest.mark.parametrize("name", ["replay_webhooks", "resync"])
def test_a_database_that_goes_away_says_where_to_go_on(history: list[int], monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(inbox, "BATCH", 5)
    function = "webhooks.replay." + ("inbox.process" if name == "replay_webhooks" else "tell")
    calls = iter(range(9))

    def away_at_last(*args: Any, **kwargs: Any) -> Any:
        if next(calls):
            raise OperationalError("the server is away")
        return {}, 0

    monkeypatch.setattr(function, away_at_last)
    monkeypatch.setattr("webhooks.replay.GIVEN", 0)
    last = 5 if name == "resync" else history[4]
    with pytest.raises(CommandError, match=rf"server is away\): ended after 5 of \d+; .* --after {last}$"):
        command(name, *(["traffic"] if name == "resync" else ["--all"]))


def test_a_killed_second_process_says_where_to_go_on(history: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inbox, "BATCH", 5)
    submit = ProcessPoolExecutor.submit

    def submit_and_kill(pool: ProcessPoolExecutor, *work: Any) -> Any:
        future = submit(pool, *work)
        for process in pool._processes.values():
            process.kill()
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit_and_kill)
    with pytest.raises(CommandError, match=rf"second process was killed.* after 5 of 12; .* --after {history[4]}$"):
        command("replay_webhooks", "--all")


def test_replay_makes_lost_sales_anew_and_tells_nobody(history: list[int]):
    Sale.objects.all().delete()
    SalesNotification.objects.all().delete()
    command("replay_webhooks", "--all")
    assert Sale.objects.filter(state="won").count() == 8
    assert not SalesNotification.objects.exists()


def test_resync_makes_an_emptied_table_anew_with_what_was_taken_back(history: list[int]):
    columns = [field.attname for field in Sale._meta.fields if field.name not in ("id", "created_at", "updated_at")]
    for later in (
        bodies.hook(4, at=NOW + 1, action="update", price=9, status=bodies.LOST),  # lost, and its price edited after
        bodies.hook(4, at=NOW + 2, action="update", price=10, status=bodies.LOST),
        bodies.form({"leads[delete][0][id]": 5}),
        bodies.hook(6, at=NOW + 3, status=bodies.OPEN),
    ):
        WebhookDelivery.objects.create(source="amocrm", body=later, content_type=bodies.FORM)
        while inbox.process_due():  # one by one, as they came
            pass
    sales = Sale.objects.order_by("lead_id")
    before = list(sales.values(*columns))
    assert [sale["lead_id"] for sale in before if sale["state"] == "reversed"] == [3, 4, 5, 6]
    Sale.objects.all().delete()
    assert "told traffic of 9 deals" in command("resync", "traffic")
    assert list(sales.values(*columns)) == before


def test_resync_posts_nothing_when_nothing_changed(history: list[int]):
    before = versions()
    command("resync", "referrals")
    command("resync", "traffic")
    assert versions() == before
    assert Earning.objects.count() == 8


def test_resync_asks_one_app_only(history: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("traffic.receivers.converge_sales", lambda *args, **kwargs: 1 / 0)
    command("resync", "referrals")
    with pytest.raises(CommandError, match="9 deals failed"):
        command("resync", "traffic")


def test_what_still_waits_is_left_to_the_worker_which_tells_people():
    WebhookDelivery.objects.create(
        source="amocrm", content_type=bodies.FORM, body=bodies.hook(1, at=NOW, price=5, utm_source="kenesary")
    )
    assert list(replay(select_deliveries())) == []
    while inbox.process_due():
        pass
    assert SalesNotification.objects.count() == 1


@pytest.fixture
def failed_sale(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A deal that came, and its sale, which failed for a broken receiver. The receiver is mended by now."""
    told = [
        bodies.hook(1, at=NOW - 9, status=bodies.OPEN, price=5, utm_source="kenesary"),
        bodies.hook(1, at=NOW, action="update", price=5, utm_source="kenesary"),
    ]
    with monkeypatch.context() as broken:
        ids = []
        for body in told:
            ids.append(WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=body).pk)
            inbox.process_due()
            broken.setattr("traffic.receivers.converge_sales", lambda *_, **__: 1 / 0)
    assert list(WebhookDelivery.objects.order_by("pk").values_list("status", flat=True)) == ["processed", "failed"]
    return ids


@pytest.mark.parametrize("scope", [["--all"], ["--lead", "1"]])
def test_what_failed_is_left_to_the_worker_which_tells_people(failed_sale: list[int], scope: list[str]):
    out = command("replay_webhooks", *scope)
    assert out.startswith("2 are left out, for they failed")
    assert "0 deliveries" in out
    assert not Sale.objects.exists()
    WebhookDelivery.objects.filter(status="failed").update(next_attempt_at=datetime.now(UTC))
    while inbox.process_due():
        pass
    assert (Sale.objects.count(), SalesNotification.objects.count()) == (1, 1)


@pytest.mark.parametrize("named", [["--status", "failed"], ["--id", "{}"]])
def test_what_failed_is_replayed_when_it_is_named_and_nobody_is_told(failed_sale: list[int], named: list[str]):
    out = command("replay_webhooks", *(word.format(failed_sale[1]) for word in named))
    assert out.startswith("1 deliveries")
    assert (Sale.objects.count(), SalesNotification.objects.count()) == (1, 0)


def test_what_failed_in_a_replay_is_counted_and_taken_by_the_next(monkeypatch: pytest.MonkeyPatch, history: list[int]):
    with monkeypatch.context() as broken:
        broken.setattr("traffic.receivers.converge_sales", lambda *_, **__: 1 / 0)
        assert "11 of them failed, dead or invalid" in command("replay_webhooks", "--all")
    out = command("replay_webhooks", "--all")
    assert out.startswith("12 deliveries")
    assert "1 of them failed, dead or invalid" in out


def test_what_fails_in_a_replay_is_tried_again_and_told_by_no_message(monkeypatch: pytest.MonkeyPatch):
    delivery = WebhookDelivery.objects.create(
        source="amocrm", content_type=bodies.FORM, body=bodies.hook(1, at=NOW, price=5, utm_source="kenesary")
    )
    inbox.process([delivery.pk], live=False)
    Sale.objects.all().delete()
    with monkeypatch.context() as broken:
        broken.setattr("traffic.receivers.converge_sales", lambda *_, **__: 1 / 0)
        list(replay(select_deliveries()))
    WebhookDelivery.objects.filter(status="failed").update(next_attempt_at=datetime.now(UTC))
    while inbox.process_due():
        pass
    delivery.refresh_from_db()
    assert delivery.status == "processed"
    assert (Sale.objects.count(), SalesNotification.objects.count()) == (1, 0)


def test_a_mended_setting_leaves_no_stale_log_row(settings: Any):
    settings.AMOCRM_ACCOUNT_ID = "1"
    body = b"account[id]=2&contacts[update][0][id]=5&" + bodies.hook(1, at=NOW)
    delivery = WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=body)
    while inbox.process_due():
        pass
    assert WebhookLog.objects.get().lead_id is None
    settings.AMOCRM_ACCOUNT_ID = "2"
    assert list(replay(select_deliveries())) == [(1, delivery.pk)]
    assert WebhookLog.objects.get().lead_id == 1


def test_what_kills_the_process_is_left_out_unless_it_is_named(history: list[int]):
    WebhookDelivery.objects.filter(pk=history[0]).update(status="dead", error_message=because(WORKER_DIED))
    WebhookDelivery.objects.filter(pk=history[1]).update(status="dead", error_message="processing failed")
    out = command("replay_webhooks", "--all")
    assert "1 are left out, for they kill the process" in out
    assert list(WebhookDelivery.objects.filter(status="dead").values_list("pk", flat=True)) == [history[0]]
    assert "left out" not in command("replay_webhooks", "--id", str(history[0]))
    assert not WebhookDelivery.objects.filter(status="dead").exists()


# --- retention ----------------------------------------------------------------------------------


def test_old_bodies_are_dropped_and_the_log_stays(history: list[int]):
    failed = WebhookDelivery.objects.create(source="amocrm", body=b"a=1", status="dead", headers={"A": "b"})
    assert sum(drop_bodies(datetime.now(UTC) + timedelta(minutes=1))) == 12
    assert WebhookDelivery.objects.filter(body=None, headers={}, remote_addr=None).count() == 12
    failed.refresh_from_db()
    assert bytes(failed.body or b"") == b"a=1"
    assert WebhookLog.objects.count() == 11


def test_young_bodies_stay(history: list[int]):
    assert sum(drop_bodies(datetime.now(UTC) - timedelta(days=1))) == 0


@pytest.mark.parametrize(("days", "left"), [(0, 12), (31, 12), (29, 0)])
def test_the_setting_says_after_how_many_days_bodies_are_dropped(
    history: list[int], settings: Any, days: int, left: int
):
    WebhookDelivery.objects.update(received_at=datetime.now(UTC) - timedelta(days=30))
    settings.WEBHOOK_BODY_DAYS = days
    drop_old_bodies(timestamp=0)
    assert WebhookDelivery.objects.filter(body__isnull=False).count() == left


def test_retention_passes_by_what_somebody_works_on(history: list[int]):
    connect = {key: value for key, value in connection.get_connection_params().items() if key in CONNECTION}
    with psycopg.connect(**connect) as other, connection.cursor() as cursor:
        other.execute("SELECT 1 FROM webhook_deliveries WHERE id = %s FOR UPDATE", [history[4]])
        cursor.execute("SET lock_timeout = '2s'")
        try:
            assert sum(drop_bodies(datetime.now(UTC) + timedelta(minutes=1))) == 11
        finally:
            cursor.execute("RESET lock_timeout")
    assert WebhookDelivery.objects.get(body__isnull=False).pk == history[4]


def test_retention_goes_on_where_it_ended(history: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("webhooks.retention.BATCH", 5)
    later = datetime.now(UTC) + timedelta(minutes=1)
    batches = drop_bodies(later)
    assert next(batches) == 5
    assert list(drop_bodies(later)) == [5, 2]
    assert list(drop_bodies(later)) == []


def test_retention_comes_back_to_what_was_dead(history: list[int]):
    later = datetime.now(UTC) + timedelta(minutes=1)
    WebhookDelivery.objects.filter(pk=history[0]).update(status="dead")
    assert sum(drop_bodies(later)) == 11
    inbox.process_again([history[0]])
    while inbox.process_due():
        pass
    assert sum(drop_bodies(later)) == 1


def test_what_has_no_body_cannot_be_processed_again(history: list[int]):
    sum(drop_bodies(datetime.now(UTC) + timedelta(minutes=1)))
    assert inbox.process_again(history) == 0
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"processed", "invalid"}


def test_replay_says_what_it_can_no_longer_read_and_leaves_it_alone(history: list[int]):
    sum(drop_bodies(datetime.now(UTC) + timedelta(minutes=1)))
    before = versions()
    out = command("replay_webhooks", "--all")
    assert "12 of them cannot be replayed" in out
    assert versions() == before


def test_resync_works_without_bodies(history: list[int]):
    sum(drop_bodies(datetime.now(UTC) + timedelta(minutes=1)))
    Sale.objects.all().delete()
    command("resync", "traffic")
    assert Sale.objects.filter(state="won").count() == 8
