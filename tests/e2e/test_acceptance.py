"""The two acceptance tests of the contract, on real processes: over HTTP in, over HTTP out to a Bot API."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from notifications.models import TelegramChat
from tests import fakes
from tests.system import LiveSystem, free_port
from traffic.models import SalesNotification
from webhooks.models import WebhookDelivery

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("seeded")]

CONTRACT_QUERIES = """
SELECT id, received_at, source, lead_id, routing_decision, processing_status, utm_source, utm_campaign
FROM webhook_logs ORDER BY received_at DESC LIMIT 10;
SELECT * FROM all_sales_tracking ORDER BY created_at DESC LIMIT 5;
SELECT * FROM referral_conversions ORDER BY created_at DESC LIMIT 5;
"""


@pytest.fixture
def site(live_system: LiveSystem, settings: Any) -> Iterator[tuple[str, fakes.FakeBotApi]]:
    """The whole system with a chat; yields its address and the Bot API that it writes to."""
    TelegramChat.objects.create(chat_id=-100, title="Sales")
    settings.AMOCRM_WEBHOOK_SECRETS = ["s3cret"]
    with fakes.FakeBotApi() as api:
        environment: Any = {
            "TELEGRAM_BOT_TOKEN": fakes.TOKEN,
            "TELEGRAM_API_URL": api.url,
            "AMOCRM_WEBHOOK_SECRETS": "s3cret",
        }
        web = live_system.start_web(**environment)
        live_system.start_worker(**environment)
        yield web.url, api


def send_test_deal(name: str, url: str, **options: Any) -> str:
    out = StringIO()
    call_command("send_test_deal", name, url=url, stdout=out, no_color=True, **options)
    return out.getvalue()


def wait_until_sent(count: int = 1) -> None:
    deadline = time.monotonic() + 10
    while SalesNotification.objects.filter(notification_status="sent").count() < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_traffic_acceptance_deal(site: tuple[str, fakes.FakeBotApi]):
    url, api = site
    out = send_test_deal("traffic", url)
    assert "source=amocrm_traffic  action=leads.status" in out
    assert "routing_decision=traffic  processing_status=success" in out
    assert "all_sales_tracking: 1 row\n" in out
    assert "sale_amount=100000  channel=targetologist  targetologist=kenesary" in out
    assert "sales_notifications: 1 row\n" in out
    assert "referral_conversions: no rows" in out
    wait_until_sent()
    send_test_deal("traffic", url)
    (text,) = api.texts
    assert "100\u2009000\u2009₸" in text
    assert "Kenesary 👑" in text
    assert "leads/detail/900000001" in text

    out = send_test_deal("traffic", url, delete=True)
    assert "state=reversed" in out
    assert "action=leads.delete" in out
    wait_until_sent(2)
    assert "↩️" in api.texts[1]
    assert json.loads(api.sent[1]["reply_parameters"])["message_id"] == 1


def test_the_referral_acceptance_deal(site: tuple[str, fakes.FakeBotApi]):
    url, api = site
    out = send_test_deal("referral", url)
    assert "routing_decision=both" in out
    assert "utm_source=ref_testuser  sale_amount=50000  state=won" in out
    assert "kind=accrual  amount=5000" in out
    assert "channel=referral  targetologist=None" in out
    assert "sales_notifications: no rows" in out

    out = send_test_deal("referral", url, delete=True)
    assert "kind=reversal  amount=-5000" in out
    assert api.requests == []


def test_the_contracts_queries_run_as_they_stand(site: tuple[str, fakes.FakeBotApi]):
    url, _ = site
    send_test_deal("traffic", url)
    send_test_deal("referral", url)
    with connection.cursor() as cursor:
        counts = []
        for query in CONTRACT_QUERIES.strip().split(";\n"):
            cursor.execute(query)
            counts.append(len(cursor.fetchall()))
    assert counts == [2, 2, 1]


BODY = b"leads[status][0][id]=5&leads[status][0][status_id]=142&leads[status][0][price]=5000000"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ["half-closed", "reset"])
def test_half_a_body_is_never_taken_for_a_whole_one(site: tuple[str, fakes.FakeBotApi], ending: str):
    host, _, port = site[0].removeprefix("http://").partition(":")
    chunked, size = b"Transfer-Encoding: chunked\r\n\r\n", len(BODY)
    requests = {
        "shorter than announced": b"Content-Length: %d\r\n\r\n%s" % (size, BODY[:-4]),
        "a chunk that breaks off": chunked + b"%x\r\n%s" % (size, BODY[:-4]),
        "no last chunk": chunked + b"%x\r\n%s\r\n" % (size, BODY),
        "no size of a chunk": chunked + b"zz\r\n%s" % BODY,
        "chunks, whole": chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (size, BODY),
    }
    answers = {}
    for name, request in requests.items():
        with socket.create_connection((host, int(port)), timeout=5) as wire:
            wire.sendall(b"POST /webhook/amocrm/traffic?key=s3cret HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            wire.sendall(b"Content-Type: application/x-www-form-urlencoded\r\n" + request)
            if ending == "reset":
                time.sleep(0.1)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                if name != "chunks, whole":
                    wire.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    answers[name] = (wire.recv(100).split() or [b"", b"closed"])[1]
    time.sleep(0.3)
    assert not WebhookDelivery.objects.exists()
    # Who has gone half away may find the connection closed; who waits has an answer.
    assert set(answers.values()) <= {b"400", b"411", b"closed"}
    assert ending == "reset" or answers["chunks, whole"] == b"411"


def test_it_says_what_to_do_when_nobody_answers():
    with pytest.raises(CommandError, match="make run"):
        send_test_deal("traffic", f"http://127.0.0.1:{free_port()}")


def test_it_says_what_to_do_when_the_secret_is_refused(site: tuple[str, fakes.FakeBotApi], settings: Any):
    settings.AMOCRM_WEBHOOK_SECRETS = []
    with pytest.raises(CommandError, match="did not take"):
        send_test_deal("traffic", site[0])
