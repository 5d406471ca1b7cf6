"""The worker process: every background loop in a thread of its own, restarted for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import django.db
import procrastinate.exceptions
import psycopg
import structlog
from asgiref.sync import sync_to_async
from django.db import connections
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params

from notifications import sender
from referrals.cabinet import bot
from webhooks import enrichment, inbox

logger = structlog.get_logger(__name__)

Loop = Callable[[threading.Event], None]
# What the loops raise while the database is away: expected, so one line says it.
DATABASE_AWAY = (
    django.db.OperationalError,
    django.db.InterfaceError,
    psycopg.OperationalError,
    procrastinate.exceptions.ConnectorException,
)
FIRST_DELAY = 1.0
LONGEST_DELAY = 5.0
# A loop that ran this long was well: its next failure is a new one.
HEALTHY_SECONDS = 30.0
# Service managers wait 10 s and more before they kill; `make run` promises to be gone by then.
STOP_SECONDS = 6.0
# Jobs that Procrastinate may still finish once the worker is asked to stop.
GRACE_SECONDS = 4.0


def run() -> None:
    """Run all loops until SIGTERM or SIGINT; then return when they ended, after STOP_SECONDS at the latest."""
    inbox.collect_less()
    # Blocked here and so in all threads, and taken by sigwait: no handler runs in the middle of anything.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for handler in logging.getLogger().handlers:
        handler.addFilter(without_expected_traceback)
    stop = threading.Event()
    loops: dict[str, Loop] = {
        **{f"inbox {hand}": partial(inbox.run, is_spare=hand > 1) for hand in range(1, inbox.HANDS + 1)},
        "sender": sender.run,
        "enrichment": enrichment.run,
        "bot": bot.run,
        "procrastinate": run_procrastinate,
    }
    threads = [
        threading.Thread(target=keep_running, args=(name, loop, stop), name=name, daemon=True)
        for name, loop in loops.items()
    ]
    for thread in threads:
        thread.start()
    logger.info("Worker started", loops=list(loops))
    signal.sigwait(signals)
    logger.info("Worker is stopping")
    stop.set()
    deadline = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [thread.name for thread in threads if thread.is_alive()]
    logger.info("Worker stopped", **({"without_waiting_for": late} if late else {}))


def without_expected_traceback(record: logging.LogRecord) -> bool:
    """Cut what Procrastinate logs of a lost database to the line itself; let every record pass."""
    if record.exc_info and isinstance(record.exc_info[1], DATABASE_AWAY):
        record.exc_info = None
    return True


def keep_running(name: str, loop: Loop, stop: threading.Event) -> None:
    """Call `loop(stop)` again and again until `stop` is set, with a growing delay: it outlives what it raises."""
    delay = FIRST_DELAY
    while not stop.is_set():
        started = time.monotonic()
        try:
            loop(stop)
        except DATABASE_AWAY as error:
            logger.warning("Database is away", loop=name, error=str(error.__cause__ or error).strip(), again_in=delay)
        except BaseException:  # a SystemExit out of some library would end this thread without a word
            logger.exception("Loop crashed", loop=name, again_in=delay)
        finally:
            connections.close_all()
        if time.monotonic() - started > HEALTHY_SECONDS:
            delay = FIRST_DELAY
        stop.wait(delay)
        delay = min(delay * 2, LONGEST_DELAY)


def run_procrastinate(stop: threading.Event) -> None:
    """Run Procrastinate's jobs and its clock until `stop` is set. Raises what DATABASE_AWAY names."""
    asyncio.run(_run_procrastinate(stop))


async def _run_procrastinate(stop: threading.Event) -> None:
    # Procrastinate's clock defers through Django's connection in asgiref's thread; it may be broken from before.
    await sync_to_async(connections.close_all)()
    # Fails at once where a pool would try, and complain, for half a minute.
    await sync_to_async(connections["default"].ensure_connection)()
    # An app of its own: the other threads' `defer` stays in their Django transaction.
    pool = procrastinate.PsycopgConnector(kwargs=connector_params(), min_size=1, max_size=2, timeout=5)
    async with app.with_connector(pool).open_async() as worker_app:
        work = asyncio.create_task(
            worker_app.run_worker_async(
                install_signal_handlers=False, delete_jobs="successful", shutdown_graceful_timeout=GRACE_SECONDS
            )
        )
        while not stop.is_set() and not work.done():
            await asyncio.wait([work], timeout=0.2)
        if work.cancel():
            await asyncio.wait([work])
        if not work.cancelled():
            work.result()
