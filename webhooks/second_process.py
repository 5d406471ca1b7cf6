"""Batches of a replay in a process of its own: in one process Python works on one of them at a time.

Nothing of Django is imported at the top: a new process comes here first, and sets Django up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor


def pool() -> ProcessPoolExecutor:
    """Return a pool of one process, which begins with the first batch given to it and ends with the caller."""
    from django.db import connection

    # A fork would share the caller's connection and lose its threads.
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(str(connection.settings_dict["NAME"]),),
    )


def process(delivery_ids: Sequence[int]) -> None:
    """Process these deliveries again; nobody is told by message. Raises what inbox.process raises."""
    from webhooks import inbox

    inbox.process(delivery_ids, live=False)


def _begin(database: str) -> None:
    # Ctrl-C reaches every process of the terminal. The caller answers it; what is begun is ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_caller, daemon=True).start()

    import django
    from django.db import connection

    django.setup()
    connection.settings_dict["NAME"] = database
    from webhooks import inbox

    inbox.collect_less()


def _end_with_the_caller() -> None:
    """End this process when the caller was killed: its open transaction is then rolled back."""
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)
