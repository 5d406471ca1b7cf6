"""Post one of the two acceptance deals as AmoCRM would, then show what the system made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import httpx
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from webhooks.models import WebhookDelivery, WebhookLog

WAIT_SECONDS = 10
# After the sale its message: with a token it is sent, without it is printed by the worker.
SETTLE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class AcceptanceDeal:
    """An acceptance deal of the contract; ids that AmoCRM gives to nobody."""

    lead_id: int
    name: str
    price: int
    utm: dict[str, str]


DEALS = {
    "traffic": AcceptanceDeal(
        900_000_001,
        "TEST WEBHOOK - Kenesary Dec20",
        100_000,
        {"utm_source": "kenesary_test", "utm_campaign": "tripwire_webhook_test"},
    ),
    "referral": AcceptanceDeal(900_000_002, "TEST REFERRAL - ref_testuser", 50_000, {"utm_source": "ref_testuser"}),
}
TABLES = {
    "webhook_logs": "SELECT id, source, action, lead_id, routing_decision, processing_status, error_message "
    "FROM webhook_logs WHERE lead_id = %s ORDER BY id",
    "all_sales_tracking": "SELECT id, lead_id, lead_name, sale_amount, channel, targetologist, matched_field, "
    "matched_text, funnel_type, sale_date, state FROM all_sales_tracking WHERE lead_id = %s",
    "sales_notifications": "SELECT id, lead_id, kind, win_number, notification_status, telegram_message_id, error "
    "FROM sales_notifications WHERE lead_id = %s ORDER BY id",
    "referral_conversions": "SELECT id, lead_id, utm_source, sale_amount, state, sale_date, available_at, hold_reason "
    "FROM referral_conversions WHERE lead_id = %s",
    "referral_earnings": "SELECT earning.seq, earning.kind, earning.amount, earning.reason FROM referral_earnings "
    "AS earning JOIN referral_conversions AS conversion ON conversion.id = earning.conversion_id "
    "WHERE conversion.lead_id = %s ORDER BY earning.seq",
}


class Command(BaseCommand):
    """Send, wait until it is processed, print table by table."""

    help = "Post an acceptance deal over HTTP as AmoCRM would (--delete: that it was deleted); print what was recorded."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare which deal, and where to."""
        parser.add_argument("deal", choices=sorted(DEALS))
        parser.add_argument("--delete", action="store_true", help="say that the deal was deleted")
        parser.add_argument("--url", default=settings.SITE_URL, help="the site's address (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Post the deal and show its rows. Raises CommandError when the server is away, refuses or does not process."""
        name = options["deal"]
        deal = DEALS[name]
        url = f"{options['url'].rstrip('/')}/webhook/amocrm/{name}"
        body = deleted_body(deal) if options["delete"] else won_body(deal, now=int(time.time()))
        try:
            response = httpx.post(
                url,
                params={"key": settings.AMOCRM_WEBHOOK_SECRETS[0]} if settings.AMOCRM_WEBHOOK_SECRETS else {},
                content=body,
                headers={"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "amoCRM-Webhooks/3.0"},
                timeout=10,
            )
        except httpx.TransportError as error:
            raise CommandError(f"{url} does not answer ({error}). Is `make run` up? Another address: --url") from None
        self.stdout.write(f"POST {url} → {response.status_code} {response.text}")
        if response.status_code != 200:
            raise CommandError("The endpoint did not take the delivery; see its answer above.")
        self._wait(int(response.json()["delivery"]))
        for table, query in TABLES.items():
            self._print(table, query, deal.lead_id)

    def _wait(self, delivery_id: int) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if WebhookLog.objects.filter(delivery_id=delivery_id).exists():
                time.sleep(SETTLE_SECONDS)
                return
            time.sleep(0.05)
        if not WebhookDelivery.objects.filter(pk=delivery_id).exists():
            raise CommandError(
                "The server stored it in another database than this command reads: compare DATABASE_URL."
            )
        raise CommandError(f"Delivery {delivery_id} is stored but not processed. Is the worker up? (manage.py worker)")

    def _print(self, table: str, query: str, lead_id: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(query, [lead_id])
            names = [column.name for column in cursor.description or ()]
            rows = cursor.fetchall()
        self.stdout.write(self.style.MIGRATE_HEADING(f"\n{table}: {len(rows) or 'no'} row{'s' * (len(rows) != 1)}"))
        for row in rows:
            self.stdout.write("  " + "  ".join(f"{name}={value}" for name, value in zip(names, row, strict=True)))


def won_body(deal: AcceptanceDeal, *, now: int) -> bytes:
    """Return the body of AmoCRM's "status changed" hook for this deal, won at `now` (unix seconds)."""
    values = {
        "id": deal.lead_id,
        "name": deal.name,
        "status_id": 142,
        "old_status_id": 20067736,
        "price": deal.price,
        "pipeline_id": settings.TRAFFIC_PIPELINE_IDS[0],
        "last_modified": now,
        "updated_at": now,
        "created_at": now - 60,
    }
    for index, (utm, value) in enumerate(deal.utm.items()):
        field = f"custom_fields][{index}"
        values |= {f"{field}][id": settings.AMOCRM_UTM_FIELD_IDS.get(utm, ""), f"{field}][name": utm}
        values[f"{field}][values][0][value"] = value
    return _form("status", values)


def deleted_body(deal: AcceptanceDeal) -> bytes:
    """Return the body of AmoCRM's "deleted" hook: it carries three ids and nothing else."""
    return _form("delete", {"id": deal.lead_id, "status_id": 142, "pipeline_id": settings.TRAFFIC_PIPELINE_IDS[0]})


def _form(action: str, values: dict[str, Any]) -> bytes:
    pairs = [(f"leads[{action}][0][{name}]", value) for name, value in values.items()]
    if settings.AMOCRM_ACCOUNT_ID:
        pairs.append(("account[id]", settings.AMOCRM_ACCOUNT_ID))
    return "&".join(f"{quote_plus(name)}={quote_plus(str(value))}" for name, value in pairs).encode()
