"""The real web server and worker as processes, on the test database: for tests over HTTP and by kill -9."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from django.db import connection

from onai_project.management.commands import up

START_SECONDS = 30
# What production never does, tests and benchmarks do between two of them.
LET_TABLES_BE_EMPTIED = """
DO $$
DECLARE
    guarded regclass;
BEGIN
    FOR guarded IN SELECT tgrelid FROM pg_trigger WHERE tgname = 'no_truncate' LOOP
        EXECUTE 'ALTER TABLE ' || guarded || ' DISABLE TRIGGER no_truncate';
    END LOOP;
END
$$
"""


class Web(NamedTuple):
    url: str  # http://127.0.0.1:port
    process: subprocess.Popen[bytes]
    log: Path


class Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    log: Path


def database_url() -> str:
    """Return DATABASE_URL of this pytest worker's test database.

    For a server reached by a socket (the embedded one) the directory stands before the database's name:
    postgres://user@//directory/of/the/socket/name
    """
    config = connection.settings_dict
    user = f"{quote(config['USER'])}:{quote(config['PASSWORD'])}" if config["PASSWORD"] else quote(config["USER"])
    if config["HOST"].startswith("/"):
        return f"postgres://{user}@/{quote(config['HOST'])}/{config['NAME']}"
    return f"postgres://{user}@{config['HOST']}:{config['PORT'] or 5432}/{config['NAME']}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LiveSystem:
    """Starts, kills and, at the end of the test, stops processes. Keyword arguments are environment variables."""

    def __init__(self, log_directory: Path) -> None:
        self.logs = log_directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "DJANGO_SETTINGS_MODULE": "onai_project.settings",
            "DATABASE_URL": database_url(),
        }

    def start_web(self, *, port: int | None = None, **environment: str) -> Web:
        """Start the web server (at a free port) and return once it answers."""
        port = port or free_port()
        process, log = self._start("web", up.web_command(port), environment)
        wait_until(lambda: up.answers(port), process, log)
        return Web(f"http://127.0.0.1:{port}", process, log)

    def start_worker(self, **environment: str) -> Worker:
        """Start a worker and return once its loops run."""
        process, log = self._start("worker", up.worker_command(), environment)
        wait_until(lambda: b"Worker started" in log.read_bytes(), process, log)
        return Worker(process, log)

    def kill(self, started: Web | Worker) -> None:
        """kill -9, and whatever it started with it."""
        up.kill_group(started.process)
        started.process.wait()

    def stop_all(self) -> None:
        up.stop({str(process.pid): process for process in self.processes})

    def _start(
        self, name: str, command: list[str], environment: dict[str, str]
    ) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.logs / f"{name}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = up.start(
                command, env={**self.environment, **environment}, stdout=output, stderr=subprocess.STDOUT
            )
        self.processes.append(process)
        return process, log


def wait_until(condition, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once `condition()` holds; fail with the process's log if that takes too long or it ends."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} (ended with {process.poll()}) said:\n{log.read_text()}")
        time.sleep(0.05)
