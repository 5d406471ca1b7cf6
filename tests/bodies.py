"""Bodies as AmoCRM writes them, for tests that need many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

PAYLOADS = Path(__file__).parent / "payloads"
# The captured bodies and what a correct parser extracts of them stay outside the repository; CI has them.
CAPTURED = Path(__file__).resolve().parents[2] / "shared" / "amocrm"
PIPELINE = 10418746
WON, LOST, OPEN = 142, 143, 81000001
FORM = "application/x-www-form-urlencoded"


def payload(name: str) -> bytes:
    """Return one of our own bodies."""
    return (PAYLOADS / name).read_bytes()


def content_type(name: str) -> str:
    return "application/json" if name.endswith(".json") else FORM


def form(pairs: dict[str, Any]) -> bytes:
    return "&".join(f"{quote_plus(key)}={quote_plus(str(value))}" for key, value in pairs.items()).encode()


def lead_pairs(
    lead_id: int | str,
    *,
    action: str = "status",
    index: int = 0,
    status: int | None = WON,
    pipeline: int | None = PIPELINE,
    at: int | None = None,
    price: int | str | None = None,
    name: str | None = None,
    **utm: str,
) -> dict[str, Any]:
    """Return the key-value pairs of one deal in a hook; `at` is unix seconds."""
    fields: dict[str, Any] = {
        "id": lead_id,
        "name": name,
        "status_id": status,
        "pipeline_id": pipeline,
        "price": price,
        "last_modified": at,
        "updated_at": at,
    }
    pairs = {f"leads[{action}][{index}][{key}]": value for key, value in fields.items() if value is not None}
    for number, (field, value) in enumerate(utm.items()):
        prefix = f"leads[{action}][{index}][custom_fields][{number}]"
        pairs |= {f"{prefix}[name]": field, f"{prefix}[values][0][value]": value, f"{prefix}[code]": field.upper()}
    return pairs


def hook(lead_id: int | str, **fields: Any) -> bytes:
    """Return a hook's body about one deal; see lead_pairs."""
    return form(lead_pairs(lead_id, **fields))


def answer(*leads: dict[str, Any]) -> bytes:
    """Return an answer of the v4 API with these leads."""
    return json.dumps({"_embedded": {"leads": list(leads)}}).encode()


def api_lead(
    lead_id: int,
    *,
    at: int,
    status: int = WON,
    pipeline: int = PIPELINE,
    price: int | None = None,
    name: str = "",
    closed_at: int | None = None,
    is_deleted: bool = False,
    **utm: str,
) -> dict[str, Any]:
    """Return one lead as `GET /api/v4/leads` shows it."""
    return {
        "id": lead_id,
        "name": name,
        "price": price,
        "status_id": status,
        "pipeline_id": pipeline,
        "updated_at": at,
        "closed_at": closed_at,
        "is_deleted": is_deleted,
        "custom_fields_values": [
            {"field_id": 1, "field_name": key, "field_code": key.upper(), "values": [{"value": value}]}
            for key, value in utm.items()
        ]
        or None,
    }
