"""What the tests of who hears of a sale share."""

from __future__ import annotations

import time
from typing import Any

from notifications.models import TelegramChat
from tests import bodies
from traffic.models import SalesNotification, Targetologist
from webhooks import inbox
from webhooks.models import WebhookDelivery

NOW = int(time.time())


def tell(*told: bytes, live: bool = True) -> None:
    """Let AmoCRM tell of deals, all in one batch."""
    ids = [WebhookDelivery.objects.create(source="amocrm", body=body, content_type=bodies.FORM).pk for body in told]
    inbox.process(ids, live=live)


def answered(**lead: Any) -> None:
    """Let AmoCRM's API answer."""
    body = bodies.answer(bodies.api_lead(1, **lead))
    delivery = WebhookDelivery.objects.create(source="amocrm_api", body=body, content_type="application/json")
    inbox.process([delivery.pk])


def won(lead_id: int = 1, at: int = NOW, **fields: Any) -> bytes:
    return bodies.hook(lead_id, at=at, **{"price": 100, "utm_campaign": "arystan_1", **fields})


def chat(number: int, kind: str, **fields: Any) -> TelegramChat:
    return TelegramChat.objects.create(chat_id=number, kind=kind, title=f"{kind} {number}", **fields)


def arystans(**fields: Any) -> TelegramChat:
    own = chat(-20, "targetologist", **fields)
    Targetologist.objects.filter(slug="arystan").update(chat=own)
    return own


def told() -> list[tuple[str, str | None, int, str]]:
    rows = SalesNotification.objects.order_by("lead_id", "win_number", "id")
    return [(row.kind, row.chat.title if row.chat else None, row.win_number, row.notification_status) for row in rows]


def sent(**columns: Any) -> None:
    SalesNotification.objects.filter(notification_status="pending").update(notification_status="sent", **columns)
