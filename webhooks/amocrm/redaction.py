"""A person taken out of what AmoCRM said: what is left still folds into the same stages, sums, dates and UTM. Pure.

Of a deal only what is known to be nobody's is kept (KEPT, UTM fields, the contact's number); everywhere else the
person's name, phone and e-mail are looked for and replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from webhooks.amocrm import events
from webhooks.amocrm.events import UTM_NAMES, DealEvent

# Stands where a name stood.
FORGOTTEN = "—"
KEPT = frozenset(
    {
        "id", "status_id", "old_status_id", "pipeline_id", "old_pipeline_id", "price", "responsible_user_id",
        "last_modified", "updated_at", "date_create", "created_at", "closed_at", "is_deleted", "account_id",
    }
)  # fmt: skip
# Of a note, a task, a contact: whose it is, and when.
KEPT_OF_OTHERS = KEPT | {"uid", "type", "element_id", "element_type", "entity_id", "lead_id", "contact_id", "talk_id"}
# Phones are written in many ways; the last ten digits are the person's.
_BETWEEN = r"[ \u00a0()+.\-]{0,3}"
_FEWEST_DIGITS, _OWN_DIGITS = 7, 10


def person_pattern(name: str, phone: str, email: str) -> re.Pattern[str] | None:
    """Return an expression that finds a person, in Python and in PostgreSQL; None where there is nothing to look for.

    A name of one word is too common to be looked for.
    """
    words = [re.escape(word) for word in name.split()]
    digits = re.sub(r"\D", "", phone)
    parts = []
    if len(words) > 1:
        parts += [r"(?<!\w)" + r"[\s_+]+".join(order) + r"(?!\w)" for order in (words, words[::-1])]
    if len(digits) >= _FEWEST_DIGITS:
        parts.append(rf"(?<!\d)(?:\+?\d{{1,3}}{_BETWEEN})?{_BETWEEN.join(digits[-_OWN_DIGITS:])}(?!\d)")
    if "@" in email:
        parts.append(rf"(?<![\w.+\-]){re.escape(email)}(?![\w\-])")
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def redact_body(
    tree: dict[str, Any],
    *,
    contact_id: int,
    lead_ids: Collection[int],
    pattern: re.Pattern[str] | None,
    utm_field_ids: Mapping[str, str],
    snapshot: bool,
) -> dict[str, Any]:
    """Return a decoded body without the person; the events in it keep their number and order. `tree` is used up."""
    numbers = {str(number) for number in (contact_id, *lead_ids)}
    for event in events.parse(tree, utm_field_ids=utm_field_ids, snapshot=snapshot).events:
        item: Any = event.raw  # the very dict in the tree
        if isinstance(event, DealEvent) and event.lead_id in lead_ids:
            redact_deal(item, utm_field_ids)
        elif not isinstance(event, DealEvent) and not numbers.isdisjoint(_leaves(item)):
            for key in item.keys() - KEPT_OF_OTHERS:
                del item[key]
    redacted: dict[str, Any] = redact_texts(tree, pattern)
    return redacted


def redact_deal(item: dict[str, Any], utm_field_ids: Mapping[str, str]) -> None:
    """Leave of a deal, of a hook or of an answer, what is nobody's; a name that there was becomes FORGOTTEN."""
    has_name = bool(item.get("name"))
    contacts = _contacts(item)
    fields = {name: _utm_fields(item[name], utm_field_ids) for name in _FIELDS if item.get(name)}
    for key in item.keys() - KEPT:
        del item[key]
    item |= fields
    if has_name:
        item["name"] = FORGOTTEN
    if contacts:
        item["_embedded"] = {"contacts": contacts}


def redact_texts(value: Any, pattern: re.Pattern[str] | None) -> Any:
    """Return a JSON value with every match in its texts replaced."""
    if pattern is None:
        return value
    if isinstance(value, str):
        return pattern.sub(FORGOTTEN, value)
    if isinstance(value, dict):
        return {key: redact_texts(part, pattern) for key, part in value.items()}
    if isinstance(value, list):
        return [redact_texts(part, pattern) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and pattern.fullmatch(str(value)):
        return None
    return value


_FIELDS = ("custom_fields", "custom_fields_values")


def _contacts(item: dict[str, Any]) -> list[dict[str, Any]]:
    embedded = item.get("_embedded")
    contacts = embedded.get("contacts") if isinstance(embedded, dict) else None
    return [
        {key: contact[key] for key in ("id", "is_main") if key in contact}
        for contact in (contacts.values() if isinstance(contacts, dict) else contacts or ())
        if isinstance(contact, dict)
    ]


def _utm_fields(node: Any, utm_field_ids: Mapping[str, str]) -> list[Any]:
    entries = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [entry for entry in entries if isinstance(entry, dict) and is_utm_field(entry.get, utm_field_ids)]


def is_utm_field(get: Callable[[str], Any], utm_field_ids: Mapping[str, str]) -> bool:
    """Return whether a custom field, in any shape, may hold a UTM value."""
    code = str(get("code") or get("field_code") or "").lower()
    number = str(get("id") or get("field_id") or "")
    return code in UTM_NAMES or number in utm_field_ids.values() or (get("name") or get("field_name")) in UTM_NAMES


def _leaves(value: Any) -> set[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {leaf for part in value for leaf in _leaves(part)}
    return {str(value)}
