"""A transaction that is begun again when PostgreSQL ended it for another's sake: nobody's fault, and no attempt."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction

T = TypeVar("T")

TRIES = 5
# A serialization failure and a deadlock.
STATES = ("40001", "40P01")


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


def sqlstate(error: OperationalError) -> str:
    """Return PostgreSQL's five characters for an error; "" where it was not PostgreSQL's."""
    return getattr(error.__cause__, "sqlstate", None) or ""
