"""What PostgreSQL's errors are about, and a transaction that is begun again when it was ended for another's sake."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction

T = TypeVar("T")

TRIES = 5
# A serialization failure and a deadlock: nobody's fault, and no attempt.
STATES = ("40001", "40P01")
# Lost connections, rolled back transactions, no room, memory or connection left, a shutdown, the server's disk. What
# else comes as an OperationalError (a statement that took too long or too much room, a lock not to be had, a file of an
# extension that is missing) is about what was asked.
_OF_ALL = ("08", "40", "53000", "53100", "53200", "53300", "57P", "58000", "58030")


def in_transaction(work: Callable[[], T]) -> T:
    """Return what `work` returns, called in a transaction of its own, TRIES times at most. Raises what it raises."""
    for attempt in range(1, TRIES + 1):
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            if attempt == TRIES or sqlstate(error) not in STATES:
                raise
            time.sleep(random.uniform(0.01, 0.05) * attempt)  # noqa: S311
    raise AssertionError("the last try returns or raises")


def concerns_all(error: BaseException) -> bool:
    """Return whether an error is about the database or the whole transaction, and not about what was asked for."""
    if not isinstance(error, OperationalError):
        return False
    state = sqlstate(error)
    return not state or state.startswith(_OF_ALL)


def sqlstate(error: OperationalError) -> str:
    """Return PostgreSQL's five characters for an error; "" where it was not PostgreSQL's."""
    return getattr(error.__cause__, "sqlstate", None) or ""
