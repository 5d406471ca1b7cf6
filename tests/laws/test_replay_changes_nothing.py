"""Law 4: where nothing changed, replay and resync write nothing: the versions of all rows stay."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from tests import bodies
from webhooks import inbox
from webhooks.models import WebhookDelivery
from webhooks.replay import replay, resync, select_deliveries

TABLES = (
    "webhook_deliveries", "webhook_logs", "deals", "deal_transitions", "all_sales_tracking", "sale_attributions",
    "sales_notifications", "referrers", "referral_conversions", "referral_earnings",
)  # fmt: skip


def versions() -> dict[str, tuple[int, str]]:
    """Return of each table how many rows it has, and a digest of where each lies and who wrote it last."""
    found = {}
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(
                f"SELECT count(*), md5(string_agg(ctid::text || xmin::text, ',' ORDER BY ctid)) FROM {table}"
            )
            found[table] = cursor.fetchone()
    return found


@pytest.mark.usefixtures("seeded")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_replay_and_resync_of_what_did_not_change_write_no_row(count: int):
    now = int(time.time())
    for start in range(0, count, 5_000):
        WebhookDelivery.objects.bulk_create(
            WebhookDelivery(
                source="amocrm_traffic",
                content_type=bodies.FORM,
                body=bodies.hook(
                    number * 7 % (count // 2) + 1,
                    at=now - number % 1000,
                    status=(bodies.WON, bodies.OPEN, bodies.WON, bodies.LOST, bodies.WON)[number % 5],
                    price=number % 9 * 1000,
                    utm_source=("kenesary", f"ref_{number % 50}")[number % 2],
                ),
            )
            for number in range(start, min(start + 5_000, count))
        )
    while inbox.process_due():
        pass
    before = versions()
    assert before["webhook_deliveries"][0] == before["webhook_logs"][0] == count
    assert before["all_sales_tracking"][0] > count // 20
    assert before["referral_earnings"][0] > count // 40
    assert sum(done for done, _ in replay(select_deliveries())) == count
    for app in ("traffic", "referrals"):
        assert all(not failures for _, _, failures in resync(app))
    assert versions() == before
