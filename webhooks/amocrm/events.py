"""Nested dict → events. Pure: no Django, no I/O, nothing is looked up.

One vocabulary for three shapes: the hook's (`leads[status][0][…]`, `custom_fields[id,name,values]`), a plain JSON list
of leads, and the v4 API's (`custom_fields_values[field_id,field_name,values]`). What is not understood is a value
(OtherEvent, `problems`), never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

WON = 142
LOST = 143

# What AmoCRM writes together, and so what is merged together.
UTM_NAMES = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "utm_referrer", "fbclid")

# Bounds an index entry and a dashboard cell; the raw body keeps the rest.
MAX_UTM_LENGTH = 500

API = "api"
DEAL_ACTIONS = frozenset({"add", "update", "delete", "restore", "status", "responsible"})
ENTITIES = frozenset({"leads", "contacts", "companies", "customers", "unsorted", "task", "catalogs", "message", "talk"})
# A plain list of leads names no action: it says what they are now.
UNNAMED_ACTION = "update"

# PostgreSQL's text holds neither NUL nor half a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PRICE = re.compile(r"\d{1,13}(?:[.,]\d{1,20})?", re.ASCII)
# 2000-01-01 … 2100-01-01: a "time" outside is not one.
_EPOCHS = range(946_684_800, 4_102_444_800)


@dataclass(frozen=True, slots=True)
class Account:
    """Who sent it, as the body says; both None where it does not."""

    id: str | None = None
    subdomain: str | None = None


class CustomField(NamedTuple):
    """One custom field of an entity; `values` is empty for an empty field."""

    id: str | None
    name: str | None
    code: str | None
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DealEvent:
    """What one delivery says of one deal. None means that it says nothing of it, except in an API answer,
    which is a snapshot: there None (and an absent UTM) means empty."""

    action: str
    lead_id: int
    name: str | None
    price: Decimal | None  # whole units of the account's currency
    status_id: int | None
    old_status_id: int | None
    pipeline_id: int | None
    old_pipeline_id: int | None
    responsible_user_id: int | None
    created_at: int | None  # unix seconds, as all times here
    updated_at: int | None  # `updated_at`, else `last_modified`
    closed_at: int | None
    is_deleted: bool | None  # only API answers say it
    contact_id: int | None  # the main contact; only API answers say it
    tags: tuple[str, ...]
    custom_fields: tuple[CustomField, ...]
    utm: Mapping[str, str]  # only what is not empty, by UTM_NAMES
    problems: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def name_of_action(self) -> str:
        """Return the action as the log shows it: `leads.status`."""
        return f"leads.{self.action}"

    @property
    def is_snapshot(self) -> bool:
        """Return whether what is absent here is empty in AmoCRM."""
        return self.action == API


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event that is no deal's: a contact, a note …; or a deal's without a usable id, then with a `problem`."""

    entity: str
    action: str
    id: str | None
    raw: Mapping[str, Any]
    problem: str = ""

    @property
    def name_of_action(self) -> str:
        """Return the action as the log shows it: `contacts.update`."""
        return f"{self.entity}.{self.action}"[:64]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A body's account and its events, in the body's order. `keys` are its top-level names, for the log."""

    account: Account
    events: tuple[DealEvent | OtherEvent, ...]
    keys: tuple[str, ...]


def parse(tree: Mapping[str, Any], *, utm_field_ids: Mapping[str, str], snapshot: bool = False) -> Parsed:
    """Return what a decoded body says. Never raises on a `dict` of form.decode.

    `utm_field_ids` is `{utm name: field id}` of the account. `snapshot` says that the body is an answer of the v4 API.
    """
    names_by_id = {field_id: name for name, field_id in utm_field_ids.items()}
    account = tree.get("account")
    account = account if isinstance(account, dict) else {}
    return Parsed(
        account=Account(_text(account.get("id")), _text(account.get("subdomain"))),
        events=tuple(
            _event(entity, action, item, names_by_id) for entity, action, item in _entity_items(tree, snapshot)
        ),
        keys=tuple(storable(key)[:64] for key in tree)[:20],
    )


def _entity_items(tree: Mapping[str, Any], snapshot: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (entity, action, item) of every known entity in the body."""
    if snapshot:
        embedded = tree.get("_embedded")
        embedded = embedded if isinstance(embedded, dict) else {}
        told = embedded.get("events")
        leads = embedded.get("leads")
        if leads is None and told is None:
            leads = tree
        yield from (("leads", API, item) for item in _items(leads))
        yield from (("leads", *action) for item in _items(told) if (action := _told(item)))
        return
    for entity in tree:
        node = tree[entity]
        if entity == "_embedded" and isinstance(node, dict):
            yield from (("leads", UNNAMED_ACTION, item) for item in _items(node.get("leads")))
        elif entity not in ENTITIES:
            continue
        elif isinstance(node, list) or (isinstance(node, dict) and ("id" in node or _all_indexes(node))):
            yield from ((entity, UNNAMED_ACTION, item) for item in _items(node))
        elif isinstance(node, dict):
            for action, items in node.items():
                yield from ((entity, action, item) for item in _items(items))


# What became of a deal, in the words of `GET /events`.
_TOLD = {"lead_status_changed": "status", "lead_deleted": "delete", "lead_restored": "restore"}


def _told(item: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return (action, deal) of an entry of AmoCRM's own record of events; None for one of other kinds."""
    action = _TOLD.get(_text(item.get("type")) or "")
    if action is None:
        return None
    deal = {"id": item.get("entity_id"), "updated_at": item.get("created_at")}
    for side, prefix in (("value_after", ""), ("value_before", "old_")):
        for value in _items(item.get(side)):
            stage = value.get("lead_status")
            if isinstance(stage, dict):
                deal |= {f"{prefix}status_id": stage.get("id"), f"{prefix}pipeline_id": stage.get("pipeline_id")}
    return action, deal


def _all_indexes(node: Mapping[str, Any]) -> bool:
    return bool(node) and all(key.isdigit() for key in node)


def _items(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the dicts of a list, of an index object (`{"0": …, "7": …}`), or `node` itself where it is one item."""
    if isinstance(node, dict):
        if "id" in node and not isinstance(node["id"], dict | list):
            yield node
            return
        node = node.values()
    elif not isinstance(node, list):
        return
    yield from (item for item in node if isinstance(item, dict))


def _event(entity: str, action: str, item: dict[str, Any], names_by_id: Mapping[str, str]) -> DealEvent | OtherEvent:
    action = storable(action)
    if entity != "leads" or (action not in DEAL_ACTIONS and action != API):
        if isinstance(item.get(action), dict):  # leads[note][0][note][…]
            item = item[action]
        identity = _text(item.get("id")) or _text(item.get("uid")) or _text(item.get("talk_id"))
        return OtherEvent(entity, action, identity, item)

    problems: list[str] = []

    def number(name: str) -> int | None:
        value = item.get(name)
        if not value:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
            return int(value)
        problems.append(f"{name} is not a number: {(_text(value) or '…')[:40]}")
        return None

    def moment(name: str) -> int | None:
        value = number(name)
        if not value:
            return None
        if value in _EPOCHS:
            return value
        problems.append(f"{name} is not a time: {value}")
        return None

    lead_id = number("id")
    if not lead_id:
        return OtherEvent(entity, action, _text(item.get("id")), item, problem="; ".join(problems) or "id is missing")
    fields = custom_fields(item)
    return DealEvent(
        action=action,
        lead_id=lead_id,
        name=_text(item.get("name")),
        price=_price(_text(item.get("price")), problems),
        status_id=number("status_id"),
        old_status_id=number("old_status_id"),
        pipeline_id=number("pipeline_id"),
        old_pipeline_id=number("old_pipeline_id"),
        responsible_user_id=number("responsible_user_id"),
        created_at=moment("created_at") or moment("date_create"),
        updated_at=moment("updated_at") or moment("last_modified"),
        closed_at=moment("closed_at"),
        is_deleted=_flag(item.get("is_deleted")),
        contact_id=_main_contact(item),
        tags=tuple(name for tag in _items(item.get("tags")) if (name := _text(tag.get("name")))),
        custom_fields=fields,
        utm=_utm(fields, names_by_id),
        problems=tuple(problems),
        raw=item,
    )


def custom_fields(item: Mapping[str, Any]) -> tuple[CustomField, ...]:
    """Read both shapes: the hook's `custom_fields[id,name,code]` and v4's `custom_fields_values[field_id,…]`."""
    node = item.get("custom_fields") or item.get("custom_fields_values")
    entries = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    fields = []
    for entry in entries:
        if isinstance(entry, dict):
            get = entry.get
            fields.append(
                CustomField(
                    _text(get("id")) or _text(get("field_id")),
                    _text(get("name")) or _text(get("field_name")),
                    _text(get("code")) or _text(get("field_code")),
                    _values(get("values")),
                )
            )
    return tuple(fields)


def _values(node: Any) -> tuple[str, ...]:
    """Read all shapes seen: `[{value, enum}]`, `[text]`, `{value, enum}` (radio button), nothing (an empty field)."""
    if isinstance(node, dict):
        node = [node["value"]] if "value" in node else node.values()
    elif not isinstance(node, list):
        return ()
    values = []
    for entry in node:
        value = _text(entry.get("value") if isinstance(entry, dict) else entry)
        if value is not None:
            values.append(value)
    return tuple(values)


def _utm(fields: tuple[CustomField, ...], names_by_id: Mapping[str, str]) -> dict[str, str]:
    """Find the UTM: by code, else by configured id, else by exact name; an empty field never hides a filled one."""
    by_code: dict[str, str] = {}
    by_id: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for field in fields:
        value = next((stripped for value in field.values if (stripped := value.strip())), "")
        if not value:
            continue
        value = value[:MAX_UTM_LENGTH]
        if field.code and (code := field.code.lower()) in UTM_NAMES:
            by_code.setdefault(code, value)
        if field.id and field.id in names_by_id:
            by_id.setdefault(names_by_id[field.id], value)
        if field.name in UTM_NAMES:
            by_name.setdefault(field.name, value)
    return {**by_name, **by_id, **by_code}


def _price(text: str | None, problems: list[str]) -> Decimal | None:
    """Return whole units, halves rounded up; None, and a problem, for what is no price. Never a default."""
    if text is None or text == "":
        return None
    if not _PRICE.fullmatch(text):
        problems.append(f"price is not a sum: {text[:40]}")
        return None
    return Decimal(text.replace(",", ".")).quantize(Decimal(1), ROUND_HALF_UP)


def _main_contact(item: Mapping[str, Any]) -> int | None:
    embedded = item.get("_embedded")
    contacts = [*_items(embedded.get("contacts"))] if isinstance(embedded, dict) else []
    for contact in sorted(contacts, key=lambda contact: not _flag(contact.get("is_main"))):
        text = _text(contact.get("id")) or ""
        if text.isascii() and text.isdigit() and len(text) <= 18:
            return int(text)
    return None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    """Return a leaf as storable text; None for what is no text: absent, null, a branch."""
    if value is None:
        return None
    if isinstance(value, str):
        return value if value.isascii() and "\x00" not in value else storable(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return None


def storable(value: str) -> str:
    """Return a text as PostgreSQL can hold it."""
    if value.isascii() and "\x00" not in value:  # nearly all, and a fraction of the search's cost
        return value
    return _UNSTORABLE.sub("\ufffd", value)
