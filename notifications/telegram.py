"""Send one text to one chat of Telegram and say what became of it. No database here."""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar

# RetryAfter warns as soon as it is made unless this says that we read a timedelta.
os.environ["PTB_TIMEDELTA"] = "true"

import httpx
import telegram
from django.conf import settings
from django.utils.translation import gettext_noop
from telegram import error as errors
from telegram.constants import ParseMode
from telegram.request import HTTPXRequest

from notifications.models import TelegramChat

T = TypeVar("T")

# How long everybody's messages, and the end of the process, wait for one answer.
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 6.0
# A refused token is tried again, and logged, once in so many seconds.
TOKEN_PAUSE = 60.0

TOKEN_REFUSED = gettext_noop("Telegram refuses the bot's token: check TELEGRAM_BOT_TOKEN.")

# What Telegram says most often of a chat that it refuses, for the catalogue: it is stored as it came, and people read
# it in their language (onai_project/stored_reasons.py).
REFUSALS = (
    gettext_noop("Chat not found"),
    gettext_noop("Forbidden: bot was kicked from the group chat"),
    gettext_noop("Forbidden: bot was kicked from the supergroup chat"),
    gettext_noop("Forbidden: bot is not a member of the supergroup chat"),
    gettext_noop("Forbidden: bot was blocked by the user"),
    gettext_noop("Forbidden: user is deactivated"),
    gettext_noop("Forbidden: the group chat was deleted"),
)


class Status(Enum):
    """What became of one attempt."""

    SENT = "sent"
    RETRY = "retry"  # certainly not delivered; may be later
    UNCERTAIN = "uncertain"  # may have been delivered: never sent again
    FAILED = "failed"  # certainly not delivered, and never will be


class Scope(Enum):
    """Whom an outcome that is not SENT is about."""

    MESSAGE = "message"
    CHAT = "chat"  # RETRY: this chat waits; FAILED: it can't be written to at all
    BOT = "bot"  # RETRY: everything waits


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt, and what to remember of it. `reason` holds no URL and no token."""

    status: Status
    scope: Scope = Scope.MESSAGE
    reason: str = ""
    message_id: int | None = None
    after: float | None = None  # seconds to wait, where Telegram or TOKEN_PAUSE says
    moved_to: int | None = None  # the chat's new id: it became a supergroup


# The first row that fits decides. An error fits by its type or by the type of what httpx raised below it, and by a
# part of its text. BadRequest is a NetworkError, so it stands above.
_CASES: tuple[tuple[type[Exception], str, Status, Scope], ...] = (
    (errors.RetryAfter, "", Status.RETRY, Scope.CHAT),
    (errors.InvalidToken, "", Status.RETRY, Scope.BOT),
    (errors.Forbidden, "", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "chat not found", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "group chat was deactivated", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "peer_id_invalid", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "message thread not found", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "topic_closed", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "not enough rights", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "have no rights", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "chat_write_forbidden", Status.FAILED, Scope.CHAT),
    (errors.BadRequest, "", Status.FAILED, Scope.MESSAGE),
    # No connection, no request.
    (httpx.ConnectError, "", Status.RETRY, Scope.MESSAGE),
    (httpx.ConnectTimeout, "", Status.RETRY, Scope.MESSAGE),
    (httpx.ProxyError, "", Status.RETRY, Scope.MESSAGE),
    (httpx.PoolTimeout, "", Status.RETRY, Scope.MESSAGE),
    (httpx.UnsupportedProtocol, "", Status.RETRY, Scope.MESSAGE),
    # The request was on its way: silence, or a connection that broke.
    (httpx.HTTPError, "", Status.UNCERTAIN, Scope.MESSAGE),
    (errors.NetworkError, "gateway time", Status.UNCERTAIN, Scope.MESSAGE),
    # Any other 5xx: Telegram answered that it did nothing.
    (errors.NetworkError, "", Status.RETRY, Scope.MESSAGE),
    # An answer of 200 that can't be read, or one that nobody knows.
    (Exception, "", Status.UNCERTAIN, Scope.MESSAGE),
)


class Bot:
    """One bot, its HTTP connections and the event loop that they live in. Belongs to the thread that made it.

    Asks Telegram nothing before the first message, so that a network that is down at the start stops nobody.
    """

    def __init__(self, token: str, *, base_url: str = "", read_timeout: float = READ_TIMEOUT) -> None:
        self._token = token
        self._runner = asyncio.Runner()
        self._request = HTTPXRequest(
            connection_pool_size=4,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            write_timeout=read_timeout,
            pool_timeout=1.0,
        )
        self._bot = telegram.Bot(
            token,
            base_url=base_url or settings.TELEGRAM_API_URL,
            request=self._request,
            get_updates_request=self._request,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.run(self._request.shutdown())
        self._runner.close()

    def request(
        self, chat_id: int, topic: int | None, text: str, *, parse_mode: str | None, reply_to: int | None = None
    ) -> int:
        """Make one request and return the id of the message; raise what python-telegram-bot raises.

        A message to reply to that is gone by now is no reason not to send this one.
        """
        reply = telegram.ReplyParameters(reply_to, allow_sending_without_reply=True) if reply_to else None
        message = self._runner.run(
            self._bot.send_message(
                chat_id=chat_id,
                message_thread_id=topic,
                text=text,
                parse_mode=parse_mode,
                link_preview_options=telegram.LinkPreviewOptions(is_disabled=True),
                reply_parameters=reply,
            )
        )
        return message.message_id

    def call(self, ask: Callable[[telegram.Bot], Coroutine[Any, Any, T]]) -> T:
        """Make one request other than a message; raise what python-telegram-bot raises."""
        return self._runner.run(ask(self._bot))

    def reason(self, error: Exception) -> str:
        """Return what an error says, without URLs and without the token, in at most 500 characters."""
        text = re.sub(r"\w+://\S+", "…", str(error) or type(error).__name__).replace(self._token, "…")
        return " ".join(text.replace("\0", "").split())[:500]  # PostgreSQL stores no NUL


def send(bot: Bot, chat: TelegramChat, text: str, *, reply_to: int | None = None) -> Outcome:
    """Send Telegram HTML to a chat, perhaps in reply to one of its messages.

    A moved chat is followed; text that Telegram can't parse goes as plain text.
    """
    chat_id, moved_to = chat.chat_id, None
    parse_mode: str | None = ParseMode.HTML
    while True:
        try:
            message_id = bot.request(chat_id, chat.topic, text, parse_mode=parse_mode, reply_to=reply_to)
        except errors.ChatMigrated as error:
            if moved_to is not None:
                return Outcome(Status.FAILED, Scope.CHAT, bot.reason(error))
            chat_id = moved_to = error.new_chat_id
            reply_to = None  # the new group counts its messages from one
        except Exception as error:
            if parse_mode and isinstance(error, errors.BadRequest) and "can't parse" in str(error).lower():
                text, parse_mode = plain(text), None
                continue
            return replace(_classify(error, bot), moved_to=moved_to)
        else:
            return Outcome(Status.SENT, message_id=message_id, moved_to=moved_to)


def plain(text: str) -> str:
    """Return Telegram HTML as people read it: links as "title: address", no other tags."""
    text = re.sub(r'<a href="([^"]*)">(.*?)</a>', r"\2: \1", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"</?[a-z][^<>]*>", "", text))


def _classify(error: Exception, bot: Bot) -> Outcome:
    said = str(error).lower()
    status, scope = next(
        (status, scope)
        for kind, part, status, scope in _CASES
        if (isinstance(error, kind) or isinstance(error.__cause__, kind)) and part in said
    )
    after = None
    reason = bot.reason(error)
    if isinstance(error, errors.RetryAfter):
        assert not isinstance(error.retry_after, int)  # PTB_TIMEDELTA, above
        after = error.retry_after.total_seconds()
    elif scope is Scope.BOT:
        after, reason = TOKEN_PAUSE, TOKEN_REFUSED
    elif isinstance(error.__cause__, httpx.HTTPError):
        reason = f"{type(error.__cause__).__name__}: {reason}"
    return Outcome(status, scope, reason, after=after)
