"""The customers of won deals: who they are, once, as the API told it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import connection, transaction

from webhooks import bulk
from webhooks.amocrm import events
from webhooks.amocrm.api import Item
from webhooks.amocrm.redaction import redact_deal
from webhooks.deals import lock_deals
from webhooks.models import Contact, Deal
from webhooks.signals import tell

_FIELDS = ("contact_id", "name", "phone", "email")
# Bounds a cell of a list; longer ones are nobody's name.
MAX_LENGTH = 300
# "cust" in bytes, and the contact: PostgreSQL's advisory locks share one space of integers in a database.
LOCK = 0x63757374_00000000


def save(people: Iterable[Item]) -> dict[int, str]:
    """Store contacts as the API tells them; one that is there already stays as it is. Who follows their deals is told.

    Returns those whose deals some receiver could not take, each with what it said: they are to be told of again.

    The deals are told of in a transaction of their own, after the contacts are there: whoever took in one of them
    meanwhile held its customer's lock (law 5: deals, then customers).
    """
    rows = [
        (item["id"], _clean(item.get("name")), _first(item, "PHONE"), _first(item, "EMAIL"))
        for item in people
        if isinstance(item.get("id"), int)
    ]
    contacts = [row[0] for row in rows]
    with transaction.atomic():
        lock_customers(contacts)
        bulk.insert(Contact, _FIELDS, rows, ignore_conflicts=True)
    with transaction.atomic():
        won = Deal.objects.filter(contact_id__in=contacts, won_at__isnull=False)
        deals = lock_deals(list(won.values_list("lead_id", flat=True)))
        failures, _ = tell(deals, live=False) if deals else ({}, 0)
    return {
        deal.contact_id: "; ".join(failures[deal.lead_id])
        for deal in deals
        if deal.contact_id is not None and deal.lead_id in failures
    }


def lock_customers(contact_ids: Iterable[int]) -> None:
    """Have these customers to oneself until the transaction ends: what is known of them, and of all their deals.

    Nobody else then decides which of a customer's sales was the first, or stores what the API tells of them.
    """
    keys = sorted({LOCK | (contact_id & 0xFFFFFFFF) for contact_id in contact_ids})
    if keys:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [keys])


def without_forgotten(leads: Sequence[Item]) -> list[Item]:
    """Return deals as the API tells them, those of forgotten people without what could tell of them."""
    people = {lead["id"]: _contact_ids(lead) for lead in leads}
    numbers = {number for ids in people.values() for number in ids}
    forgotten = set(
        Contact.objects.filter(pk__in=numbers).exclude(forgotten_at=None).values_list("pk", flat=True)
        if numbers
        else ()
    )
    for lead in leads:
        if not forgotten.isdisjoint(people[lead["id"]]):
            redact_deal(lead, settings.AMOCRM_UTM_FIELD_IDS)
    return list(leads)


def _contact_ids(lead: Item) -> set[int]:
    embedded = lead.get("_embedded")
    contacts = embedded.get("contacts") if isinstance(embedded, dict) else None
    return {one["id"] for one in contacts or () if isinstance(one, dict) and isinstance(one.get("id"), int)}


def _first(item: Item, code: str) -> str:
    """Return the first value of a coded field; "" where there is none."""
    values = (text for field in events.custom_fields(item) if field.code == code for text in field.values)
    return next((value for text in values if (value := _clean(text))), "")


def _clean(value: object) -> str:
    return events.storable(value).strip()[:MAX_LENGTH] if isinstance(value, str) else ""
