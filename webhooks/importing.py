"""Old sales enter as stored deliveries of their own source: the tables follow from the log, here as everywhere.

Each is told as a deal created in "won" at the moment of its sale: whatever AmoCRM itself says of the deal, of that
moment or later, wins. They are quiet: nobody is told of history.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from django.db import transaction

from webhooks.models import Deal, Source, WebhookDelivery
from webhooks.sales_file import OldSale

# Deals in one delivery: a batch of the inbox stays short.
CHUNK = 200


@transaction.atomic
def store_sales(sales: Sequence[OldSale]) -> list[int]:
    """Store these sales for the inbox, all of them or none; return the deliveries' ids."""
    return [
        WebhookDelivery.objects.create(
            source=Source.IMPORT, body=_body(sales[start : start + CHUNK]), content_type="application/json", quiet=True
        ).pk
        for start in range(0, len(sales), CHUNK)
    ]


def count_known(sales: Sequence[OldSale]) -> int:
    """Return how many of the deals are known already."""
    return Deal.objects.filter(pk__in=[sale.lead_id for sale in sales]).count()


def _body(sales: Sequence[OldSale]) -> bytes:
    return json.dumps({"leads": {"add": [sale.as_deal() for sale in sales]}}, ensure_ascii=False).encode()
