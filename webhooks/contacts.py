"""The customers of won deals: who they are, once, as the API told it."""

from __future__ import annotations

from collections.abc import Iterable

from webhooks import bulk
from webhooks.amocrm import events
from webhooks.amocrm.api import Item
from webhooks.models import Contact

_FIELDS = ("contact_id", "name", "phone", "email")
# Bounds a cell of a list; longer ones are nobody's name.
MAX_LENGTH = 300


def save(people: Iterable[Item]) -> None:
    """Store contacts as the API tells them; one that is there already stays as it is."""
    rows = [
        (item["id"], _clean(item.get("name")), _first(item, "PHONE"), _first(item, "EMAIL"))
        for item in people
        if isinstance(item.get("id"), int)
    ]
    bulk.insert(Contact, _FIELDS, rows, ignore_conflicts=True)


def _first(item: Item, code: str) -> str:
    """Return the first value of a coded field; "" where there is none."""
    values = (text for field in events.custom_fields(item) if field.code == code for text in field.values)
    return next((value for text in values if (value := _clean(text))), "")


def _clean(value: object) -> str:
    return events.storable(value).strip()[:MAX_LENGTH] if isinstance(value, str) else ""
