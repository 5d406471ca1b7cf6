from __future__ import annotations

import signal
import threading
import time

import pytest

from onai_project import worker
from tests.onai_project.checkouts import Checkout, say_until, wait_for

pytestmark = pytest.mark.processes

ADD_WORK = """
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.utils import timezone
from onai_project import tasks
from webhooks.models import WebhookDelivery
Session.objects.create(session_key="old", expire_date=timezone.now() - timedelta(days=1))
tasks.delete_expired.defer(timestamp=0)
WebhookDelivery.objects.create(source="amocrm", body=b"")
"""
WORK_LEFT = """
from django.contrib.sessions.models import Session
from webhooks.models import WebhookDelivery
print(Session.objects.count() + WebhookDelivery.objects.filter(status="received").count())
"""


def end(process, checkout: Checkout) -> None:
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert time.monotonic() - started < 8


def test_it_goes_on_after_the_database_was_away_and_ends_on_sigterm(checkout):
    assert checkout.manage("migrate", "-v0")[0] == 0
    process = checkout.start("worker")
    say_until(process, "Worker started")
    checkout.cluster.stop()
    say_until(process, "Database is away")
    checkout.cluster.bring_up()
    checkout.python_code(ADD_WORK)
    # Inbox and jobs: both loops are back.
    wait_for(lambda: checkout.python_code(WORK_LEFT) == "0")
    end(process, checkout)
    assert checkout.cluster.pid() is None


def test_it_starts_and_ends_without_a_database(checkout):
    process = checkout.start("worker", DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing")
    said = say_until(process, "Database is away")
    assert "Traceback" not in said
    end(process, checkout)


def test_a_loop_that_something_told_to_exit_begins_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "FIRST_DELAY", 0.01)
    stop = threading.Event()
    begun: list[int] = []

    def loop(stop: threading.Event) -> None:
        begun.append(1)
        if len(begun) < 3:
            raise SystemExit
        stop.set()

    worker.keep_running("loop", loop, stop)
    assert len(begun) == 3
