"""Servers that stand in for the outside world, on a free port of 127.0.0.1."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

TOKEN = "123456:fake-token-of-the-tests"


@dataclass(frozen=True)
class Reply:
    """One answer of the fake Bot API. `hang`: none before the client gives up. `drop`: the connection is cut."""

    status: int = 200
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    hang: bool = False
    drop: bool = False


OK = Reply()
HANG = Reply(hang=True)
DROP = Reply(drop=True)
BAD_GATEWAY = Reply(502, body=b"<html>Bad Gateway</html>")
GATEWAY_TIMEOUT = Reply(504, body=b"<html>Gateway Timeout</html>")
UNREADABLE = Reply(200, body=b"<html>?</html>")
UNAUTHORIZED = Reply(401, "Unauthorized")
KICKED = Reply(403, "Forbidden: bot was kicked from the group chat")
CHAT_NOT_FOUND = Reply(400, "Bad Request: chat not found")
BAD_ENTITIES = Reply(400, 'Bad Request: can\'t parse entities: Unsupported start tag "b_" at byte offset 5')
TOO_LONG = Reply(400, "Bad Request: message is too long")


def too_many_requests(seconds: int) -> Reply:
    return Reply(429, f"Too Many Requests: retry after {seconds}", {"retry_after": seconds})


def migrated(new_chat_id: int) -> Reply:
    return Reply(400, "Bad Request: group chat was upgraded to a supergroup chat", {"migrate_to_chat_id": new_chat_id})


class QuickServer(HTTPServer):
    """Stops at once: werkzeug looks for the end of serving every half second only."""

    def thread_target(self) -> None:
        assert self.server is not None
        self.server.serve_forever(poll_interval=0.01)


class FakeBotApi:
    """A Bot API over real HTTP that records the messages it got. Answers ok, or what `will()` queued for the chat.

    with FakeBotApi() as api: settings.TELEGRAM_API_URL = api.url; settings.TELEGRAM_BOT_TOKEN = TOKEN
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []  # everything asked, in order
        self.sent: list[dict[str, Any]] = []  # what was answered with ok
        self.calls: list[tuple[str, dict[str, Any]]] = []  # what else than a message was asked: method, parameters
        self._updates: list[dict[str, Any]] = []
        self.on_request: Callable[[dict[str, Any]], None] = lambda request: None
        self._replies: dict[int | None, deque[Reply]] = {}
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server = QuickServer("127.0.0.1", 0, threaded=True)

    @property
    def url(self) -> str:
        """What TELEGRAM_API_URL should be."""
        return self._server.url_for("/bot")

    def __enter__(self) -> FakeBotApi:
        self._server.expect_request(re.compile(r"^/bot")).respond_with_handler(self._answer)
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._released.set()
        self._server.stop()

    def will(self, *replies: Reply, chat_id: int | None = None) -> None:
        """Queue replies for the next messages, of one chat or of any."""
        self._replies.setdefault(chat_id, deque()).extend(replies)

    @property
    def texts(self) -> list[str]:
        return [request["text"] for request in self.sent]

    def _answer(self, http: Request) -> Response:
        request: dict[str, Any] = {"path": http.path, **http.form.to_dict()}
        method = http.path.rsplit("/", 1)[-1]
        if method != "sendMessage":
            return self._answer_other(method, request)
        request["chat_id"] = int(request["chat_id"])
        with self._lock:
            self.requests.append(request)
            queue = self._replies.get(request["chat_id"]) or self._replies.get(None)
            reply = queue.popleft() if queue else OK
            if reply is OK:
                self.sent.append(request)
            message_id = len(self.sent)
        self.on_request(request)
        if reply.hang:
            self._released.wait(10)
        if reply.drop:
            http.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        if reply.body is not None:
            return Response(reply.body, reply.status, content_type="text/html")
        if reply.status == 200:
            chat = {"id": request["chat_id"], "type": "group", "title": "t"}
            message = {"message_id": message_id, "date": 1766236979, "chat": chat, "text": request["text"]}
            return _json(200, {"ok": True, "result": message})
        answer = {"ok": False, "error_code": reply.status, "description": reply.description}
        return _json(reply.status, answer | ({"parameters": reply.parameters} if reply.parameters else {}))

    def writes(self, text: str, *, chat_id: int = 7, kind: str = "private") -> None:
        """Let a person write to the bot: the next getUpdates brings it."""
        with self._lock:
            self._updates.append(update(len(self._updates) + 1, text, chat_id=chat_id, kind=kind))

    def _answer_other(self, method: str, request: dict[str, Any]) -> Response:
        with self._lock:
            self.calls.append((method, request))
            if method != "getUpdates":
                return _json(200, {"ok": True, "result": True})
            offset = int(request.get("offset", 0))
            return _json(200, {"ok": True, "result": [u for u in self._updates if u["update_id"] >= offset]})


def update(number: int, text: str, *, chat_id: int = 7, kind: str = "private") -> dict[str, Any]:
    """Return an update as Telegram sends it: a person wrote to the bot."""
    chat = {"id": chat_id, "type": kind, "first_name": "Дана"}
    sender = {"id": chat_id, "is_bot": False, "first_name": "Дана"}
    message = {"message_id": number, "date": 1766236979, "chat": chat, "from": sender, "text": text}
    return {"update_id": number, "message": message}


def _json(status: int, value: dict[str, Any]) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")
