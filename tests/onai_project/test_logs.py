from __future__ import annotations

import logging.config
from typing import Any

import pytest
import structlog
from django.db import IntegrityError, connection, transaction

from onai_project.logs import logging_config, without_query_string
from webhooks.reasons import describe

pytestmark = pytest.mark.django_db
NAME = "Айгерим\n\nТестова"


def broken_row() -> None:
    """Raise PostgreSQL's error that shows a person's row."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO deals (lead_id, name, wins) VALUES (1, %s, NULL)", [NAME])


@pytest.fixture
def restored() -> Any:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_holds_no_row(as_json: bool, restored: None, capfd: pytest.CaptureFixture[str]):
    config = logging_config("INFO", as_json=as_json)
    logger = structlog.wrap_logger(structlog.get_config()["logger_factory"]())
    try:
        try:
            broken_row()
        except IntegrityError as error:
            raise RuntimeError("in between") from error
    except RuntimeError:
        logger.exception("it failed", lead=1)
    formatter = config["formatters"]["line"]
    handler = logging.Handler()
    handler.setFormatter(formatter["()"](**{key: value for key, value in formatter.items() if key != "()"}))
    try:
        broken_row()
    except IntegrityError as error:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed too", (), (type(error), error, None))
    said = capfd.readouterr().err + handler.format(record)
    assert said.count("it failed") == 2
    assert "in between" in said
    assert said.count("not-null constraint") == 4  # psycopg's error and Django's, twice
    assert "Айгерим" not in said
    assert "Тестова" not in said


def test_what_is_stored_and_what_sentry_gets_holds_no_row():
    with pytest.raises(IntegrityError) as caught:
        broken_row()
    assert NAME in str(caught.value)
    assert describe(caught.value).endswith("not-null constraint")
    event = without_query_string({"exception": {"values": [{"value": str(caught.value)}, {"value": None}]}}, {})
    (error, nothing) = event["exception"]["values"]
    assert error["value"].endswith("not-null constraint")
    assert nothing["value"] == ""
