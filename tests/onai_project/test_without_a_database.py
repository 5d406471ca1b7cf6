"""What monitors and AmoCRM's tester are answered while PostgreSQL is stopped or hangs: 503 in time, and why."""

from __future__ import annotations

import signal
import time

import httpx
import pytest

from tests.laws.conftest import OwnDatabase, own_database, system
from tests.system import LiveSystem

__all__ = ["own_database", "system"]  # fixtures
TEST = "/webhook/amocrm/traffic/test"


@pytest.fixture
def web(system: LiveSystem) -> str:
    """The address of a web server whose threads have a connection each."""
    url = system.start_web().url
    for _ in range(40):
        assert httpx.get(f"{url}{TEST}").status_code == 200
    return url


def test_a_stopped_database_is_a_503_that_says_so(own_database: OwnDatabase, web: str):
    own_database.stop()
    try:
        ready, metrics, tested = (httpx.get(web + path) for path in ("/health/ready", "/metrics", TEST))
    finally:
        own_database.start()
    assert [answer.status_code for answer in (ready, metrics, tested)] == [503, 503, 503]
    assert ready.json() == {"ready": False, "database": "away: OperationalError"}
    assert metrics.text == "the database is away: OperationalError\n"
    answer = tested.json()
    assert list(answer) == ["success", "message", "endpoint", "timestamp", "version", "error"]
    assert (answer["success"], answer["endpoint"]) == (False, "/webhook/amocrm/traffic")
    assert answer["error"] == "The database is away: OperationalError"
    for path in ("/metrics", TEST):
        assert httpx.get(web + path).status_code == 200
    assert httpx.get(f"{web}/health/ready").json()["database"] == "ok"


def test_a_database_that_hangs_is_not_ready_within_two_seconds(own_database: OwnDatabase, web: str):
    for _ in range(40):
        assert httpx.get(f"{web}/health/ready").json()["database"] == "ok"
    own_database.signal_all(signal.SIGSTOP)
    try:
        for _ in range(4):  # on a connection that is there, and on one that must be opened
            started = time.monotonic()
            answer = httpx.get(f"{web}/health/ready", timeout=10)
            assert time.monotonic() - started < 2.7
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert "database" in answer.json()
    finally:
        own_database.signal_all(signal.SIGCONT)
    assert httpx.get(f"{web}/health/ready").json()["database"] == "ok"
