"""What the benchmarks share: a database of their own, the real system on it, a load over HTTP, memory of processes."""

from __future__ import annotations

import itertools
import os
import queue
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BASE_DIR))

import onai_project.database

SECRET = "bench"
if not os.environ.get("DATABASE_URL"):  # production's settings, as here, want it said
    embedded = onai_project.database.embedded_config(BASE_DIR)
    os.environ["DATABASE_URL"] = f"postgres://{embedded['USER']}@/{quote(embedded['HOST'])}/{embedded['NAME']}"
os.environ.update(
    DJANGO_SETTINGS_MODULE="onai_project.settings", DEBUG="off", SECRET_KEY="bench", AMOCRM_WEBHOOK_SECRETS=SECRET,
    LOG_JSON="on", TELEGRAM_BOT_TOKEN="", SITE_URL="http://127.0.0.1",
)  # fmt: skip

import django
import psycopg

django.setup()

from django.db import connection
from django.test import Client

from tests.system import LET_TABLES_BE_EMPTIED, LiveSystem

TABLES = (
    "webhook_deliveries, webhook_logs, deals, deal_transitions, all_sales_tracking, sale_attributions, "
    "sales_notifications, referral_earnings, referral_conversions, referrers"
)
DOOR = f"/webhook/amocrm/traffic?key={SECRET}"


@contextmanager
def own_database() -> Iterator[None]:
    """Make an empty, migrated database beside that of DATABASE_URL (or on the embedded server); drop it at the end."""
    with onai_project.database.running():
        name = connection.settings_dict["NAME"]
        connection.settings_dict["TEST"]["NAME"] = f"bench_{name}"
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        execute(LET_TABLES_BE_EMPTIED)
        try:
            yield
        finally:
            connection.creation.destroy_test_db(name, verbosity=0)


def empty() -> None:
    """Forget what earlier figures left, their backlog above all."""
    execute(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")


@contextmanager
def own_system() -> Iterator[LiveSystem]:
    """Start web servers and workers on that database; all are stopped at the end."""
    with tempfile.TemporaryDirectory() as logs:
        system = LiveSystem(Path(logs))
        try:
            yield system
        finally:
            system.stop_all()


def other_connection() -> psycopg.Connection:
    """Return a connection of its own to that database, in autocommit, as somebody from outside has it."""
    given = connection.settings_dict
    return psycopg.connect(
        host=given["HOST"], port=given["PORT"] or 5432, user=given["USER"], password=given["PASSWORD"] or None,
        dbname=given["NAME"], autocommit=True,
    )  # fmt: skip


def value(query: str) -> Any:
    """Return the single value of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def execute(query: str, **parameters: Any) -> None:
    """Run one statement."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)


def web_client() -> Client:
    """Return a client of the site in this process, which is then set up as the web server's processes are."""
    import onai_project.wsgi  # noqa: F401

    return Client(HTTP_HOST="127.0.0.1")


def processor_ms() -> float:
    """Return the processor time that this process and its connection's server process, if it is on this machine, have
    used: what a page costs, however busy the machine is with other work. The server's part is known to 10 ms."""
    spent = time.process_time()
    with suppress(FileNotFoundError), open(f"/proc/{value('SELECT pg_backend_pid()')}/stat") as file:
        utime, stime = file.read().rpartition(")")[2].split()[11:13]
        spent += (int(utime) + int(stime)) / os.sysconf("SC_CLK_TCK")
    return spent * 1000


def backlog() -> int:
    """Return how many stored deliveries wait for the worker."""
    return int(value("SELECT count(*) FROM webhook_deliveries WHERE status IN ('received', 'failed')"))


def rss(process_group: int) -> int:
    """Return the resident memory, in MB, of all processes of a group: of `web` with its children, or of `worker`."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[2]) == process_group:
                total += int(stat.with_name("statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            continue
    return total // 1_000_000


def quantile(values: list[float], share: float) -> float:
    """Return that share's quantile (0.99) of the values; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


@dataclass
class Load:
    """What a load saw: seconds of each answer, how many answers of each status, and how long it took."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    elapsed: float = 0.0

    @property
    def rate(self) -> float:
        """Answers of 200 a second."""
        return self.statuses[200] / self.elapsed


def load(
    url: str,
    body: Callable[[int], bytes],
    *,
    connections: int,
    count: int | None = None,
    seconds: float = 3600.0,
    rate: float | None = None,
    first: int = 1,
) -> Load:
    """Post body(first), body(first + 1), … over so many connections that stay open, and return what came back.

    It ends after `count` or after `seconds`. With `rate` (a second) each has its time, late or not; without it the
    next goes out as soon as there is an answer.
    """
    result = Load()
    numbers = itertools.count()
    failures: queue.Queue[BaseException] = queue.Queue()
    begin = time.perf_counter()

    def client() -> None:
        address = urlsplit(url)
        head = (
            f"POST {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
        )
        try:
            with socket.create_connection((address.hostname or "", address.port or 80), timeout=30) as wire:
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    number = next(numbers)
                    due = begin + number / rate if rate else time.perf_counter()
                    if due > begin + seconds or (count is not None and number >= count):
                        return
                    time.sleep(max(0.0, due - time.perf_counter()))
                    if time.perf_counter() > begin + seconds:
                        return
                    text = body(first + number)
                    started = time.perf_counter()
                    wire.sendall(f"{head}{len(text)}\r\n\r\n".encode() + text)
                    status = _answer(wire)
                    result.latencies.append(time.perf_counter() - started)
                    result.statuses[status] += 1
        except BaseException as error:
            failures.put(error)

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not failures.empty():
        raise failures.get()
    result.elapsed = time.perf_counter() - begin
    return result


def _answer(wire: socket.socket) -> int:
    """Read one answer to its end and return its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(wire)
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), -1)
    if length < 0:
        raise RuntimeError(f"an answer without a length: {data!r}")
    while len(rest) < length:
        rest += _some(wire)
    return int(lines[0].split()[1])


def _some(wire: socket.socket) -> bytes:
    data = wire.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data
