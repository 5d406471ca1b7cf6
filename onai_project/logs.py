"""Log lines: one renderer for structlog and the standard library, no secret and no personal data in them (law 10)."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import sentry_sdk
import structlog

# Until the traceback goes on with what came of it.
ROW = re.compile(r"\s*DETAIL:.*?(?=\n\nThe above exception|\n\nDuring handling|\Z)", re.DOTALL)


class WithoutQueryString(logging.Filter):
    """Cut `?…` off request lines: the webhook's `?key=` is there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's string arguments; always let it pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                argument.split("?", 1)[0] + argument[argument.find(" HTTP/") :]
                if isinstance(argument, str) and "?" in argument and " HTTP/" in argument
                else argument
                for argument in record.args
            )
        return True


def without_query_string(event: Any, hint: Any) -> Any:
    """Sentry's before_send: drop what may hold the webhook's key or a person's data from `event`."""
    request = event.get("request") or {}
    for name in ("query_string", "data", "cookies"):
        request.pop(name, None)
    if "url" in request:
        request["url"] = request["url"].split("?", 1)[0]
    for error in (event.get("exception") or {}).get("values") or ():
        error["value"] = ROW.sub("", error.get("value") or "")
    return event


def without_rows(logger: Any, method: str, event: Any) -> Any:
    """Cut what PostgreSQL tells of a row ("Failing row contains …") out of a traceback; return the event."""
    if "exception" in event:
        event["exception"] = ROW.sub("", event["exception"])
    return event


def to_sentry(logger: Any, method: str, event: Any) -> Any:
    """Report our own errors, which do not pass through the standard library's logging; return the event as it is."""
    if method in ("error", "critical", "exception"):
        if event.get("exc_info"):
            sentry_sdk.capture_exception()
        else:
            sentry_sdk.capture_message(event["event"], level="error")
    return event


def logging_config(level: str, *, as_json: bool) -> dict[str, Any]:
    """Configure structlog and return Django's LOGGING: JSON lines in production, readable lines in development.

    Our own lines are written straight to standard error: by way of the standard library each costs five times as
    much, and there is one for every delivery.
    """
    # Made once: json.dumps would make a new one for every line.
    encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any] = (
        [structlog.processors.JSONRenderer(lambda line, **_: encode(line))]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    ending = [structlog.processors.format_exc_info, without_rows, *ending]
    structlog.configure(
        processors=[to_sentry, *shared, *ending],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"without_query_string": {"()": WithoutQueryString}},
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
            }
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["without_query_string"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # A 4xx is the door's to tell, and it does.
            "django.request": {"level": "ERROR"},
            # httpx writes whole URLs at INFO, and Telegram's hold the token.
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "telegram": {"level": "WARNING"},
            # A traceback for every answer that is not JSON; the outbox row says what came.
            "telegram.request": {"level": "CRITICAL"},
            "procrastinate": {"level": "WARNING"},
            "axes": {"level": "WARNING"},
        },
    }
