"""An AmoCRM of the tests over real HTTP: keeps deals, contacts, events, hooks; misbehaves as the real one does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from werkzeug import Request, Response

from tests.bodies import OPEN, PIPELINE, WON
from tests.fakes import QuickServer

TOKEN = "a-fake-token-of-the-tests"
ALLOWED_A_SECOND = 7
# So many 429 in a row, and the account is blocked.
BLOCKED_AFTER = 3


@dataclass(frozen=True)
class Bad:
    """One answer instead of the right one. `hang`: none before the client gives up."""

    status: int = 500
    body: bytes = b"<html>?</html>"
    hang: bool = False
    headers: dict[str, str] = field(default_factory=dict)


HANG = Bad(hang=True)
BROKEN = Bad(200, b'{"_embedded": {"leads": [{"id": 1')
NOT_AN_OBJECT = Bad(200, b'"ok"')


@dataclass(frozen=True)
class Asked:
    """A request that came. `at` is monotonic seconds."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    status: int


class FakeAmoCrm:
    """with FakeAmoCrm() as crm: settings.AMOCRM_BASE_URL = crm.url; settings.AMOCRM_ACCESS_TOKEN = TOKEN"""

    def __init__(self) -> None:
        self.leads: dict[int, dict[str, Any]] = {}
        self.contacts: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.hooks: list[dict[str, Any]] = []
        self.pipelines = [PIPELINE]
        self.asked: list[Asked] = []
        self.blocked_until = 0.0
        self.block_seconds = 60.0
        self._replies: deque[tuple[str, Bad]] = deque()
        self._strikes = 0
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server = QuickServer("127.0.0.1", 0, threaded=True)

    @property
    def url(self) -> str:
        """What AMOCRM_BASE_URL should be."""
        return self._server.url_for("").rstrip("/")

    def __enter__(self) -> FakeAmoCrm:
        self._server.expect_request(re.compile(r"^/api/v4/")).respond_with_handler(self._answer)
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._released.set()
        self._server.stop()

    def will(self, *replies: Bad, path: str = "") -> None:
        """Queue bad answers for the next requests whose path contains `path`."""
        self._replies.extend((path, reply) for reply in replies)

    def busiest_second(self) -> int:
        """Return the most requests that came within one second."""
        times = [asked.at for asked in self.asked]
        return max((sum(start <= at < start + 1 for at in times) for start in times), default=0)

    # What people do in AmoCRM.

    def put(
        self,
        lead_id: int,
        *,
        at: int,
        status: int = OPEN,
        pipeline: int = PIPELINE,
        price: int | None = None,
        name: str = "",
        contact: int | None = None,
        closed_at: int | None = None,
        **utm: str,
    ) -> dict[str, Any]:
        """Make a deal, or change one: what is not given is empty from now on. Its stages become events."""
        old = self.leads.get(lead_id)
        self.leads[lead_id] = lead = {
            "id": lead_id,
            "name": name,
            "price": price,
            "status_id": status,
            "pipeline_id": pipeline,
            "created_at": old["created_at"] if old else at,
            "updated_at": at,
            "closed_at": closed_at or (at if status in (142, 143) else None),
            "is_deleted": False,
            "custom_fields_values": [
                {
                    "field_id": 434729,
                    "field_name": key,
                    "field_code": key.upper(),
                    "field_type": "tracking_data",
                    "values": [{"value": value}],
                }
                for key, value in utm.items()
            ]
            or None,
            "_embedded": {"tags": [], "contacts": [{"id": contact, "is_main": True}] if contact else []},
        }
        if old and (old["status_id"], old["pipeline_id"]) != (status, pipeline):
            self._event("lead_status_changed", lead_id, at, before=old, after=lead)
        elif old is None:
            self._event("lead_added", lead_id, at)
        if old and old["status_id"] == status == WON and closed_at is None:
            lead["closed_at"] = old["closed_at"]
        return lead

    def delete(self, lead_id: int, *, at: int) -> None:
        self.leads[lead_id] |= {"is_deleted": True, "updated_at": at}
        self._event("lead_deleted", lead_id, at)

    def restore(self, lead_id: int, *, at: int) -> None:
        self.leads[lead_id] |= {"is_deleted": False, "updated_at": at}
        self._event("lead_restored", lead_id, at)

    def person(self, contact_id: int, name: str, phone: str = "", email: str = "") -> None:
        values = [("PHONE", phone), ("EMAIL", email)]
        self.contacts[contact_id] = {
            "id": contact_id,
            "name": name,
            "updated_at": 1,
            "custom_fields_values": [
                {"field_id": number, "field_name": code, "field_code": code, "values": [{"value": value}]}
                for number, (code, value) in enumerate(values, 1)
                if value
            ]
            or None,
        }

    def _event(self, kind: str, lead_id: int, at: int, *, before: Any = None, after: Any = None) -> None:
        self.events.append(
            {
                "id": f"{len(self.events):026d}",
                "type": kind,
                "entity_id": lead_id,
                "entity_type": "lead",
                "created_at": at,
                "value_before": [_stage(before)] if before else [],
                "value_after": [_stage(after)] if after else [],
            }
        )

    # HTTP.

    def _answer(self, request: Request) -> Response:
        with self._lock:
            now = time.monotonic()
            bad = self._misbehaviour(request, now)
            response = bad and Response(bad.body, bad.status, headers=bad.headers, content_type="text/html")
            response = response or self._right_answer(request)
            query = request.args.to_dict()
            self.asked.append(
                Asked(now, request.method, request.path, query, 0 if bad and bad.hang else response.status_code)
            )
        if bad and bad.hang:
            self._released.wait(10)
        return response

    def _misbehaviour(self, request: Request, now: float) -> Bad | None:
        if self._replies and self._replies[0][0] in request.path:
            return self._replies.popleft()[1]
        if now < self.blocked_until:
            return Bad(403)
        if sum(now - 1 < asked.at for asked in self.asked[-ALLOWED_A_SECOND:]) >= ALLOWED_A_SECOND:
            self._strikes += 1
            if self._strikes >= BLOCKED_AFTER:
                self.blocked_until = now + self.block_seconds
            return Bad(429)
        self._strikes = 0
        return None

    def _right_answer(self, request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _json(401, {"title": "Unauthorized"})
        path = request.path.removeprefix("/api/v4/")
        if path == "webhooks":
            return self._webhooks(request)
        query = request.args.to_dict()
        match path:
            case "leads":
                return _page(query, "leads", self._listed_leads(query), 250)
            case "events":
                return _page(query, "events", self._listed_events(query), 100)
            case "contacts":
                wanted = _ids(query)
                return _page(query, "contacts", [c for c in self.contacts.values() if c["id"] in wanted], 250)
            case "leads/pipelines":
                return _page(query, "pipelines", [{"id": number, "name": "Воронка"} for number in self.pipelines], 250)
        return _json(404, {"title": "Not Found"})

    def _listed_leads(self, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted = _ids(query)
        found = [lead for lead in self.leads.values() if not wanted or lead["id"] in wanted]
        if query.get("with") == "only_deleted":
            return [
                {"id": lead["id"], "updated_at": lead["updated_at"], "is_deleted": True}
                for lead in found
                if lead["is_deleted"]
            ]
        found = [lead for lead in found if not lead["is_deleted"]]
        for name in ("pipeline_id", "status_id"):
            if value := query.get(f"filter[statuses][0][{name}]"):
                found = [lead for lead in found if lead[name] == int(value)]
        if start := query.get("filter[closed_at][from]"):
            end = int(query["filter[closed_at][to]"])
            found = [lead for lead in found if int(start) <= (lead["closed_at"] or 0) <= end]
        return sorted(found, key=lambda lead: lead["id"])

    def _listed_events(self, query: dict[str, str]) -> list[dict[str, Any]]:
        found = [event for event in self.events if event["type"] == query["filter[type]"]]
        if wanted := {int(value) for key, value in query.items() if key.startswith("filter[entity_id]")}:
            assert query["filter[entity]"] == "lead"
            found = [event for event in found if event["entity_id"] in wanted]
        if start := query.get("filter[created_at][from]"):
            end = int(query["filter[created_at][to]"])
            found = [event for event in found if int(start) <= event["created_at"] <= end]
        for side in ("value_before", "value_after"):
            stage = f"filter[{side}][leads_statuses][0]"
            if pipeline := query.get(f"{stage}[pipeline_id]"):
                told = {"lead_status": {"id": int(query[f"{stage}[status_id]"]), "pipeline_id": int(pipeline)}}
                found = [event for event in found if told in event[side]]
        return sorted(found, key=lambda event: -event["created_at"])

    def _webhooks(self, request: Request) -> Response:
        if request.method == "GET":
            return _json(200, {"_embedded": {"webhooks": self.hooks}}) if self.hooks else Response(status=204)
        said = json.loads(request.get_data())
        self.hooks = [hook for hook in self.hooks if hook["destination"] != said["destination"]]
        if request.method == "DELETE":
            return Response(status=204)
        hook = {"id": len(self.hooks) + 1, "disabled": False, "sort": 1, **said}
        self.hooks.append(hook)
        return _json(201, hook)


def _ids(query: dict[str, str]) -> set[int]:
    return {int(value) for key, value in query.items() if key.startswith("filter[id]")}


def _stage(lead: dict[str, Any]) -> dict[str, Any]:
    return {"lead_status": {"id": lead["status_id"], "pipeline_id": lead["pipeline_id"]}}


def _page(query: dict[str, str], name: str, items: list[dict[str, Any]], most: int) -> Response:
    number, limit = int(query.get("page", 1)), min(int(query.get("limit", 50)), most)
    start = (number - 1) * limit
    shown = items[start : start + limit]
    if not shown:
        return Response(status=204)
    links = {"self": {"href": "…"}} | ({"next": {"href": "…"}} if len(items) > start + limit else {})
    return _json(200, {"_page": number, "_links": links, "_embedded": {name: shown}})


def _json(status: int, value: Any) -> Response:
    return Response(json.dumps(value), status, content_type="application/hal+json")
