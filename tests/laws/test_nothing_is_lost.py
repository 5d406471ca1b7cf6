"""Law 1 on the real system: what was acknowledged survives kill -9 of any part; a database that is away is a 503."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from tests import bodies
from tests.laws.conftest import OwnDatabase
from tests.system import LiveSystem, Web, Worker
from webhooks import inbox

pytestmark = [pytest.mark.processes, pytest.mark.timeout(280)]
PATH = "/webhook/amocrm/traffic"


def post(client: httpx.Client, url: str, lead_id: int) -> int | None:
    """Post a won deal; return the status, None where the connection broke."""
    body = bodies.hook(
        lead_id, at=int(time.time()), price=1000, utm_source=f"ref_{lead_id % 5}" if lead_id % 2 else "kenesary"
    )
    try:
        return client.post(url + PATH, content=body, headers={"Content-Type": bodies.FORM}).status_code
    except httpx.TransportError:
        return None


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Return how long it took until `condition()` held; fail after `seconds`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started


def pending(database: OwnDatabase) -> int:
    return int(database.value("SELECT count(*) FROM webhook_deliveries WHERE status <> 'processed'"))


class Load(threading.Thread):
    """Posts deals with ids of its own until told to stop; keeps those that got 200."""

    def __init__(self, url: str, first_id: int) -> None:
        super().__init__(daemon=True)
        self.url, self.next_id = url, first_id
        self.acknowledged: set[int] = set()
        self.stopping = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self.stopping.is_set():
                self.next_id += 1
                if post(client, self.url, self.next_id) == 200:
                    self.acknowledged.add(self.next_id)
                else:
                    time.sleep(0.05)


def test_a_delivery_is_processed_within_200_ms_on_an_idle_system(own_database: OwnDatabase, system: LiveSystem):
    web, _ = system.start_web(), system.start_worker()
    with httpx.Client() as client, own_database.connect() as connection:
        for lead in range(1, 8):
            assert post(client, web.url, lead) == 200
            time.sleep(0.3)
        took = connection.execute("SELECT processed_at - received_at FROM webhook_deliveries ORDER BY id").fetchall()
    milliseconds = sorted(delta.total_seconds() * 1000 for (delta,) in took)
    assert len(milliseconds) == 7
    assert milliseconds[3] < 200, milliseconds


def test_a_worker_killed_between_claim_and_commit_loses_nothing(own_database: OwnDatabase, system: LiveSystem):
    web, worker = system.start_web(), system.start_worker()
    with httpx.Client() as client:
        assert post(client, web.url, 1) == 200
        wait_for(lambda: pending(own_database) == 0, 5, "the first delivery")
        with own_database.connect() as other, other.transaction():
            other.execute("SELECT 1 FROM deals FOR UPDATE")
            assert post(client, web.url, 1) == 200
            claimed = "SELECT count(*) FROM webhook_deliveries WHERE status = 'received' AND attempts = 1"
            wait_for(lambda: own_database.value(claimed) == 1, 5, "the claim")
            system.kill(worker)
        system.start_worker()
        wait_for(lambda: pending(own_database) == 0, inbox.RETRY_SECONDS[0] + 5, "the delivery of the killed worker")
    assert own_database.value("SELECT max(attempts) FROM webhook_deliveries") == 2
    assert own_database.value("SELECT count(*) FROM all_sales_tracking WHERE state = 'won'") == 1


@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_kill_9_of_web_worker_and_database_loses_nothing_acknowledged(
    own_database: OwnDatabase, system: LiveSystem, rounds: int
):
    web, worker = system.start_web(), system.start_worker()
    port = int(web.url.rsplit(":", 1)[1])
    loads = [Load(web.url, 1_000_000 * number) for number in range(1, 5)]
    for load in loads:
        load.start()

    def kill_web() -> None:
        nonlocal web
        system.kill(web)
        web = system.start_web(port=port)

    def kill_worker() -> None:
        nonlocal worker
        system.kill(worker)
        worker = system.start_worker()

    def kill_database() -> None:
        own_database.kill()
        time.sleep(0.5)
        own_database.start()

    for _ in range(rounds):
        for kill in random.sample([kill_web, kill_worker, kill_database], 3):
            time.sleep(random.uniform(0.5, 2))
            kill()
    time.sleep(1)
    for load in loads:
        load.stopping.set()
    for load in loads:
        load.join()

    acknowledged = set().union(*(load.acknowledged for load in loads))
    assert len(acknowledged) > 50 * rounds
    wait_for(lambda: pending(own_database) == 0, 120, "the backlog")
    sold = [lead for (lead,) in own_database.rows("SELECT lead_id FROM all_sales_tracking WHERE state = 'won'")]
    assert len(sold) == len(set(sold))
    assert acknowledged <= set(sold)
    referred = sum(lead % 2 for lead in sold)
    earned = "SELECT count(*), sum(amount) FROM referral_earnings"
    assert own_database.rows(earned) == [(referred, 100 * referred)]
    assert own_database.value("SELECT count(*) FROM deals") == len(sold)
    told = "SELECT count(*), count(DISTINCT lead_id) FROM sales_notifications WHERE kind = 'sale'"
    assert own_database.rows(told) == [(len(sold) - referred,) * 2]


@pytest.mark.parametrize("other", ["POST /webhook/amocrm/traffic?key=wrong", "GET /health/ready"])
def test_a_hanging_database_answers_a_delivery_in_time_whatever_else_is_asked(
    own_database: OwnDatabase, system: LiveSystem, other: str
):
    web = system.start_web(AMOCRM_WEBHOOK_SECRETS="right")
    method, path = other.split()
    body = bodies.hook(1, at=int(time.time()))
    headers = {"Content-Type": bodies.FORM}

    def deliver() -> tuple[int, float]:
        started = time.monotonic()
        answer = httpx.post(f"{web.url}{PATH}?key=right", content=body, headers=headers, timeout=10)
        return answer.status_code, time.monotonic() - started

    def ask() -> None:
        with contextlib.suppress(httpx.TransportError):
            httpx.request(method, web.url + path, timeout=60)

    def ask_often() -> None:
        for _ in range(5):
            ask()

    def together(number: int, work: Callable[[], None]) -> list[threading.Thread]:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        return threads

    assert deliver()[0] == 200
    for thread in together(16, ask_often):  # every thread of the server has its connection now
        thread.join()
    own_database.signal_all(signal.SIGSTOP)
    try:
        asking = together(24, ask)
        time.sleep(4)
        answers = [deliver(), deliver()]
        delivering = together(64, lambda: answers.append(deliver()))
        alive = httpx.get(f"{web.url}/health/live", timeout=10).status_code
        for thread in delivering:
            thread.join()
    finally:
        own_database.signal_all(signal.SIGCONT)
    for thread in asking:
        thread.join()
    assert len(answers) == 66
    assert all(status == 503 and took < 3 for status, took in answers), answers
    assert alive == 200
    wait_for(lambda: deliver()[0] == 200, 5, "the web server takes deliveries again")


@pytest.mark.parametrize(
    "seconds", [4, pytest.param(20, marks=pytest.mark.long), pytest.param(60, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_database_that_is_away_is_a_503_in_time_and_nothing_needs_a_restart(
    own_database: OwnDatabase, system: LiveSystem, how: str, seconds: int
):
    web: Web = system.start_web()
    worker: Worker = system.start_worker()
    slowest = 0.0
    with httpx.Client(timeout=30) as client:
        for lead in range(1, 20):
            assert post(client, web.url, lead) == 200
        wait_for(lambda: pending(own_database) == 0, 5, "what came before")
        own_database.stop() if how == "stopped" else own_database.signal_all(signal.SIGSTOP)
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                started = time.monotonic()
                assert post(client, web.url, 99) == 503
                slowest = max(slowest, time.monotonic() - started)
        finally:
            own_database.start() if how == "stopped" else own_database.signal_all(signal.SIGCONT)
        assert slowest < (2 if how == "stopped" else 3)
        wait_for(lambda: post(client, web.url, 100) == 200, 5, "the web server takes deliveries again")
        wait_for(lambda: pending(own_database) == 0, 15, "the worker works again")
    assert (web.process.poll(), worker.process.poll()) == (None, None)
    assert own_database.value("SELECT count(*) FROM all_sales_tracking WHERE lead_id = 100") == 1
