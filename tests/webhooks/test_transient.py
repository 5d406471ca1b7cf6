from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection

from webhooks.models import Deal
from webhooks.transient import TRIES, in_transaction, sqlstate


@pytest.mark.django_db(transaction=True)
def test_both_sides_of_a_deadlock_do_their_work():
    Deal.objects.bulk_create([Deal(lead_id=1), Deal(lead_id=2)])
    together = threading.Barrier(2)
    tries = []

    def work(first: int, second: int) -> None:
        tries.append(first)
        Deal.objects.filter(pk=first).update(name=f"by {first}")
        if len(tries) <= 2:
            together.wait(timeout=10)
        Deal.objects.filter(pk=second).update(name=f"by {first}")

    def other() -> None:
        try:
            in_transaction(lambda: work(2, 1))
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    in_transaction(lambda: work(1, 2))
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert len(tries) == 3
    one, two = Deal.objects.order_by("pk").values_list("name", flat=True)
    assert one == two


@pytest.mark.django_db
def test_what_is_not_transient_is_raised_at_once_and_what_stays_so_in_the_end():
    tries: list[Any] = []

    def fail(state: str) -> None:
        tries.append(state)
        with connection.cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '%s'; END $$" % state)  # noqa: UP031

    with pytest.raises(OperationalError) as caught:
        in_transaction(lambda: fail("53200"))
    assert sqlstate(caught.value) == "53200"
    assert len(tries) == 1
    with pytest.raises(OperationalError, match="no"):
        in_transaction(lambda: fail("40P01"))
    assert len(tries) == 1 + TRIES
