"""Law 6 with real processes: a body that kills the worker; a replay and a resync that are killed half way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from onai_project.database import BASE_DIR
from onai_project.management.commands import up
from tests import bodies
from tests.killer.apps import POISON
from tests.laws.conftest import OwnDatabase
from tests.system import LiveSystem

pytestmark = [pytest.mark.processes, pytest.mark.timeout(280)]
STATES = "SELECT status, count(*) FROM webhook_deliveries GROUP BY 1 ORDER BY 1"
SALES = "SELECT count(*), sum(lead_id), sum(sale_amount) FROM all_sales_tracking WHERE state = 'won'"
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_STORE = (
    "INSERT INTO webhook_deliveries (source, body, content_type, headers, query, status) "
    "VALUES ('amocrm_traffic', %s, 'application/x-www-form-urlencoded', '{}', '', 'received')"
)


def store(database: OwnDatabase, *stored: bytes) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(_STORE, [[body] for body in stored])


def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def command(system: LiveSystem, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=system.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_body_that_kills_the_worker_ends_dead_and_the_others_are_processed(
    own_database: OwnDatabase, system: LiveSystem
):
    now = int(time.time())
    good = [bodies.hook(lead, at=now) for lead in range(1, 31)]
    poison = bodies.hook(99, at=now, name=POISON.decode())
    store(own_database, *good[:15], poison, *good[15:])
    deaths = 0
    while own_database.rows(STATES) != [("dead", 1), ("processed", 30)]:
        assert deaths < 10, own_database.rows(STATES)
        # It may be dead before it says that it has started.
        process, _ = system._start("worker", up.worker_command(), {"DJANGO_SETTINGS_MODULE": "tests.killer.settings"})
        until(
            lambda process=process: (
                process.poll() is not None or own_database.rows(STATES) == [("dead", 1), ("processed", 30)]
            )
        )
        deaths += process.poll() == -signal.SIGKILL
    assert deaths == 3  # as many as attempts
    assert own_database.value("SELECT attempts FROM webhook_deliveries WHERE status = 'dead'") == 4
    assert own_database.rows(SALES)[0][0] == 30

    # The cause is gone, and a person says "Process again".
    up.kill_group(process)
    process.wait()
    own_database.execute("UPDATE webhook_deliveries SET status = 'received', attempts = 0 WHERE status = 'dead'")
    system.start_worker()
    until(lambda: own_database.rows(STATES) == [("processed", 31)])
    assert own_database.rows(SALES)[0][0] == 31


def test_replay_and_resync_that_are_killed_half_way_can_be_run_again(own_database: OwnDatabase, system: LiveSystem):
    count = 4000
    now = int(time.time())
    store(own_database, *(bodies.hook(lead, at=now, price=lead) for lead in range(1, count + 1)))
    first = command(system, "process_webhooks")
    assert first.communicate(timeout=120)[0] == f"processed {count} deliveries\n"
    before = own_database.rows(SALES)
    assert before[0][0] == count

    def sold() -> int:
        return int(own_database.value("SELECT count(*) FROM all_sales_tracking"))

    for again in (["replay_webhooks", "--all"], ["resync", "traffic"]):
        for number in (signal.SIGKILL, signal.SIGINT):
            own_database.execute("TRUNCATE all_sales_tracking CASCADE")
            process = command(system, *again)
            until(lambda: sold() >= 1500)
            process.send_signal(number)
            said = process.communicate(timeout=60)[1]
            until(lambda: own_database.value(OTHERS) == 0)  # the second process of a killed replay ends, too
            assert 0 < sold() < count, "it was not half way"
            go_on = []
            if number == signal.SIGINT:
                assert process.returncode == 1
                assert "interrupted after" in said
                go_on = ["--after", said.split("--after ")[1].split()[0]]
                assert int(go_on[1]) >= 500
            rest = command(system, *again, *go_on)
            _, progress = rest.communicate(timeout=120)
            assert rest.returncode == 0
            assert "/s  up to #" in progress
            assert own_database.rows(SALES) == before
