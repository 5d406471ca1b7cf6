"""Law 5: a worker takes deals, then referrers, each in one order: whoever waits for the first holds none behind it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from referrals.models import Conversion, Referrer
from tests import bodies
from tests.webhooks.helpers import until_another_waits_for
from traffic.models import Sale
from webhooks import inbox
from webhooks.models import Deal, WebhookDelivery

pytestmark = [pytest.mark.usefixtures("seeded")]
T = 1766217600
LEADS = range(1, 13)


def store() -> None:
    """One delivery that tells of all deals, the last first, each with a referrer's code of its own, z … a."""
    pairs: dict[str, object] = {}
    for index, lead in enumerate(reversed(LEADS)):
        code = f"ref_{chr(ord('z') - lead)}"
        pairs |= bodies.lead_pairs(lead, index=index, at=T, price=1000, name="new", utm_source=code)
    WebhookDelivery.objects.create(source="amocrm_traffic", body=bodies.form(pairs), content_type=bodies.FORM)


def process() -> int:
    try:
        return inbox.process_due()
    finally:
        connection.close()


@contextmanager
def worker_that_waits_for(statement: str) -> Iterator[None]:
    """Hold what the statement takes, in a transaction, while a worker has come so far that it waits for it."""
    with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
        with transaction.atomic():
            cursor.execute(statement)
            processing: Future[int] = pool.submit(process)
            until_another_waits_for(cursor, statement)
            cursor.execute("SET LOCAL lock_timeout = '300ms'")
            yield
        assert processing.result(20) == 1
    assert WebhookDelivery.objects.get().status == "processed"
    assert (Deal.objects.count(), Sale.objects.count(), Conversion.objects.count()) == (12, 12, 12)


def test_deals_that_are_there():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO deals (lead_id) SELECT generate_series(12, 1, -1)")
    store()
    with worker_that_waits_for("SELECT FROM deals WHERE lead_id = 1 FOR UPDATE"), connection.cursor() as cursor:
        cursor.execute("SELECT FROM deals WHERE lead_id > 1 FOR UPDATE")


def test_deals_that_are_not_there_yet():
    store()
    with worker_that_waits_for("INSERT INTO deals (lead_id) VALUES (1)"), connection.cursor() as cursor:
        cursor.execute("INSERT INTO deals (lead_id) SELECT generate_series(2, 12)")


def test_referrers():
    Referrer.objects.bulk_create(Referrer(code=f"ref_{chr(ord('z') - lead)}") for lead in LEADS)
    store()
    first = f"ref_{chr(ord('z') - LEADS[-1])}"
    with (
        worker_that_waits_for(f"SELECT FROM referrers WHERE code = '{first}' FOR UPDATE"),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT FROM referrers WHERE code > %s FOR UPDATE", [first])
