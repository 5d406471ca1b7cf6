"""A person removed from everything that is stored, and the proof: everything is searched afterwards.

The deals stay, with their stages, sums, dates and UTM; stored bodies are written anew without the person, so a replay
leads to the same tables. It is one transaction: where the search still finds something, nothing has happened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from webhooks import bulk, inbox, questions
from webhooks.amocrm import form
from webhooks.amocrm.redaction import FORGOTTEN, KEPT, is_utm_field, person_pattern, redact_body, redact_texts
from webhooks.deals import LockedDeals, hold_deals
from webhooks.deliveries import lock_deliveries
from webhooks.models import ApiQuestion, Contact, Deal, Source, WebhookDelivery, WebhookLog
from webhooks.signals import tell

log = structlog.get_logger("webhooks")

# Bodies that are in memory at a time.
CHUNK = 500
# The staff's own accounts: a customer's name in there is somebody else's, or a colleague's business.
NOT_SEARCHED = ("auth_user", "django_session", "django_migrations")
_COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns JOIN information_schema.tables
    USING (table_schema, table_name)
WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
ORDER BY table_name, ordinal_position
"""
_TEXTS = ("text", "character varying", "json", "jsonb")
_KEPT_OF_LOG = sorted({*KEPT, "utm"})


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done, in numbers, and what was searched afterwards."""

    lead_ids: tuple[int, ...]
    deliveries: int
    other_rows: int
    searched_columns: int
    searched_bodies: int


class StillThere(Exception):
    """The search found the person after all; nothing was changed. The text says where, not what."""


@transaction.atomic
def forget_contact(*, contact_id: int, lead_ids: Collection[int] = ()) -> Forgotten:
    """Remove a person from contacts, deals, log, stored bodies, messages and whatever else holds their data.

    Their deals are those that the API told of, and `lead_ids`. Raises StillThere where a trace was left.
    """
    contact = Contact.objects.select_for_update().filter(pk=contact_id).first()
    pattern = person_pattern(contact.name, contact.phone, contact.email) if contact else None
    leads = sorted({*lead_ids, *Deal.objects.filter(contact_id=contact_id).values_list("pk", flat=True)})
    rewritten = _rewrite_bodies(contact_id, leads, pattern)
    # Those that the bodies tell of besides, too: a worker takes them all in one order (law 5).
    told_of = WebhookLog.objects.filter(delivery__in=rewritten)
    hold_deals({*leads, *(lead for lead in told_of.values_list("lead_id", flat=True) if lead is not None)})
    deals = LockedDeals(leads)
    deals.forget_names(FORGOTTEN)
    states = deals.save()
    _redact_log(leads)
    Contact.objects.update_or_create(
        pk=contact_id, defaults={"name": "", "phone": "", "email": "", "forgotten_at": Now()}
    )
    questions.settle(ApiQuestion.Kind.CONTACT, [contact_id])
    inbox.process(rewritten, live=False)
    tell(states, live=False)
    tables = _tables()
    rows = _redact_names(tables, leads) + sum(_redact_table(name, tables[name], pattern) for name in tables)
    found, bodies = _search(tables, contact_id, leads, pattern)
    if found:
        raise StillThere("; ".join(found))
    log.info("Contact forgotten", contact=contact_id, deals=len(leads), deliveries=len(rewritten), rows=rows)
    columns = sum(len(names) for names in tables.values())
    return Forgotten(tuple(leads), len(rewritten), rows, columns, bodies)


def _rewrite_bodies(contact_id: int, leads: Sequence[int], pattern: re.Pattern[str] | None) -> list[int]:
    """Write the bodies that tell of the person anew; return the deliveries that can be processed again."""
    concerned = set(WebhookLog.objects.filter(lead_id__in=leads).values_list("delivery_id", flat=True))
    # Notes and tasks name the deal they belong to, and the log does not.
    number = re.compile(rf"(?<!\d)(?:{'|'.join(map(str, (contact_id, *leads)))})(?!\d)")
    for pk, text in _bodies():
        if number.search(text) or (pattern and pattern.search(text)):
            concerned.add(pk)
    again = []
    for delivery in lock_deliveries(sorted(concerned)):
        row = WebhookDelivery.objects.filter(pk=delivery.id)
        if delivery.problem:
            # Nobody's format, so nobody can take a person out of it.
            row.update(body=b"")
            continue
        tree = redact_body(
            form.decode(bytes(delivery.body), delivery.content_type),
            contact_id=contact_id,
            lead_ids=leads,
            pattern=pattern,
            utm_field_ids=settings.AMOCRM_UTM_FIELD_IDS,
            snapshot=delivery.source == Source.API,
        )
        row.update(body=bulk.as_json(tree).encode(), content_type="application/json")
        if delivery.status == WebhookDelivery.Status.PROCESSED:
            again.append(delivery.id)
    return again


def _redact_log(leads: Sequence[int]) -> None:
    """Take the person out of what the log says of these deals; it may be older than the bodies."""
    for row in WebhookLog.objects.filter(lead_id__in=leads).only("deal_data").select_for_update().iterator(CHUNK):
        data = {key: value for key, value in row.deal_data.items() if key in _KEPT_OF_LOG}
        fields = row.deal_data.get("custom_fields") or []
        if kept := [field for field in fields if is_utm_field(field.get, settings.AMOCRM_UTM_FIELD_IDS)]:
            data["custom_fields"] = kept
        if row.deal_data.get("name"):
            data["name"] = FORGOTTEN
        if data != row.deal_data:
            WebhookLog.objects.filter(pk=row.pk).update(deal_data=data)


def _tables() -> dict[str, dict[str, str]]:
    """Return the columns that may hold texts, by table: name and type."""
    tables: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS)
        for table, column, kind in cursor.fetchall():
            if table not in NOT_SEARCHED and kind in _TEXTS:
                tables.setdefault(table, {})[column] = kind
    return tables


def _redact_names(tables: dict[str, dict[str, str]], leads: Sequence[int]) -> int:
    """Replace the deals' names wherever a table keeps a copy of them; return how many there were."""
    count = 0
    with connection.cursor() as cursor:
        for table in (name for name, columns in tables.items() if "lead_name" in columns):
            cursor.execute(
                f"UPDATE {_quoted(table)} SET lead_name = %s "  # noqa: S608
                "WHERE lead_id = ANY(%s::bigint[]) AND lead_name NOT IN ('', %s)",
                [FORGOTTEN, list(leads), FORGOTTEN],
            )
            count += cursor.rowcount
    return count


def _redact_table(table: str, columns: dict[str, str], pattern: re.Pattern[str] | None) -> int:
    """Replace what is left of the person in one table; return in how many rows."""
    if pattern is None:
        return 0
    names = list(columns)
    # Append-only tables let their texts, and nothing else, be rewritten where this is on.
    forgetting = "SELECT set_config('onai.forgetting', %s, true)"
    assignments = ", ".join(f"{_quoted(name)} = %s::{columns[name]}" for name in names)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ctid::text, {_as_texts(names)} {_where(table, names)}", [pattern.pattern])
        rows = cursor.fetchall()
        cursor.execute(forgetting, ["on"])
        for place, *values in rows:
            new = [_redacted(value, columns[name], pattern) for name, value in zip(names, values, strict=True)]
            cursor.execute(f"UPDATE {_quoted(table)} SET {assignments} WHERE ctid = %s::tid", [*new, place])  # noqa: S608
        cursor.execute(forgetting, ["off"])
    return len(rows)


def _redacted(value: str | None, kind: str, pattern: re.Pattern[str]) -> str | None:
    if value is None:
        return None
    if kind.startswith("json"):
        return bulk.as_json(redact_texts(json.loads(value), pattern))
    return pattern.sub(FORGOTTEN, value)


def _search(
    tables: dict[str, dict[str, str]], contact_id: int, leads: Sequence[int], pattern: re.Pattern[str] | None
) -> tuple[list[str], int]:
    """Search everything; return where the person still is, and in how many bodies was looked."""
    found = []
    if pattern is not None:
        with connection.cursor() as cursor:
            for table, columns in tables.items():
                cursor.execute(f"SELECT count(*) {_where(table, list(columns))}", [pattern.pattern])
                if count := cursor.fetchone()[0]:
                    found.append(f"{table}: {count} rows")
    if count := Deal.objects.filter(pk__in=leads).exclude(name__in=["", FORGOTTEN]).count():
        found.append(f"names of deals: {count}")
    named = ~Q(deal_data__name=FORGOTTEN) & Q(deal_data__has_key="name")
    if count := WebhookLog.objects.filter(named, lead_id__in=leads).count():
        found.append(f"names in the log: {count}")
    if Contact.objects.filter(~Q(name="") | ~Q(phone="") | ~Q(email=""), pk=contact_id).exists():
        found.append("the contact")
    bodies = 0
    for pk, text in _bodies():
        bodies += 1
        if pattern is not None and pattern.search(text):
            found.append(f"delivery {pk}")
    return found, bodies


def _bodies() -> Iterator[tuple[int, str]]:
    """Yield every stored body as people would read it."""
    stored = WebhookDelivery.objects.filter(body__isnull=False).order_by("pk").values_list("pk", "body", "content_type")
    for pk, body, content_type in stored.iterator(CHUNK):
        raw = bytes(body or b"")
        try:
            is_json = form.says_json(raw, content_type)
            yield pk, json.dumps(form.decode_json(raw), ensure_ascii=False) if is_json else _unquoted(raw)
        except form.BodyError:
            yield pk, _unquoted(raw)


def _unquoted(body: bytes) -> str:
    return unquote_plus(body.decode("utf-8", "replace"))


def _as_texts(names: Sequence[str]) -> str:
    return ", ".join(f"{_quoted(name)}::text" for name in names)


def _where(table: str, names: Sequence[str]) -> str:
    return f"FROM {_quoted(table)} WHERE concat_ws(' ', {_as_texts(names)}) ~* %s"


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
