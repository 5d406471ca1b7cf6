"""A PostgreSQL of the test's own, to be stopped, frozen and killed, and the real system on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from onai_project.database import BASE_DIR, DATABASE_NAME, PORT, SUPERUSER, Cluster
from tests.system import LET_TABLES_BE_EMPTIED, LiveSystem

TABLES = (
    "webhook_deliveries, webhook_logs, webhook_refusals, deals, deal_transitions, all_sales_tracking, "
    "sale_attributions, sales_notifications, referral_conversions, referral_earnings"
)


class OwnDatabase:
    """A cluster that belongs to one test module."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.url = f"postgres://postgres@/{quote(str(cluster.socket_dir))}/onai"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.cluster.socket_dir), port=PORT, user=SUPERUSER, dbname=DATABASE_NAME, autocommit=True
        )

    def execute(self, query: str) -> None:
        with self.connect() as connection:
            connection.execute(query)

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(query, parameters).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def start(self) -> None:
        self.cluster.bring_up()

    def stop(self) -> None:
        self.cluster.stop()

    def kill(self) -> None:
        """kill -9 of the server; its children notice."""
        if pid := self.cluster.pid():
            os.kill(pid, signal.SIGKILL)

    def signal_all(self, number: int) -> None:
        """Send a signal to the server and each of its processes."""
        pid = self.cluster.pid()
        assert pid is not None
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in [pid, *map(int, children)]:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue


@pytest.fixture(scope="module")
def own_database() -> Iterator[OwnDatabase]:
    """A migrated, empty database on a cluster of its own."""
    directory = Path(tempfile.mkdtemp(prefix="own-cluster-"))
    cluster = Cluster(directory)
    with cluster.in_use():
        database = OwnDatabase(cluster)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=BASE_DIR,
            env={**os.environ, "DATABASE_URL": database.url, "DJANGO_SETTINGS_MODULE": "onai_project.settings"},
            check=True,
        )
        database.execute(LET_TABLES_BE_EMPTIED)
        yield database
    shutil.rmtree(cluster.home, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def system(own_database: OwnDatabase, tmp_path: Path) -> Iterator[LiveSystem]:
    """Web servers and workers on that database; nothing of an earlier test is in it."""
    own_database.execute(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")
    # TRUNCATE of referrers would take the plans along, which may name a referrer: nobody would earn anything.
    own_database.execute("DELETE FROM referrers")
    live = LiveSystem(tmp_path)
    live.environment["DATABASE_URL"] = own_database.url
    yield live
    live.stop_all()
