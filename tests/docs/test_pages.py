"""What the documents say of commands, files, statuses and tables is so."""

from __future__ import annotations

import re
import shlex

import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection

from notifications.models import OutboxMessage
from tests.docs.pages import PAGES, ROOT, Block, blocks, rows, section
from webhooks.models import WebhookDelivery, WebhookLog
from webhooks.reasons import EXPLAINED

DEPLOY = ROOT / "docs" / "deploy.md"
OPERATIONS = ROOT / "docs" / "operations.md"
COMMANDS = [
    shlex.split(line.partition("manage.py ")[2], comments=True)
    for page in PAGES
    if page.name != "adding-a-receiver.md"  # all of it is run, where its app is: test_adding_a_receiver.py
    for language, text in blocks(page)
    if language == "bash"
    for line in text.splitlines()
    if "manage.py " in line
]
QUERIES = [block for page in PAGES for block in blocks(page) if block.language == "sql"]
CONTRACT = [
    "SELECT id, received_at, source, lead_id, routing_decision, processing_status, utm_source, utm_campaign "
    "FROM webhook_logs ORDER BY received_at DESC LIMIT 10;",
    "SELECT * FROM all_sales_tracking ORDER BY created_at DESC LIMIT 5;",
    "SELECT * FROM referral_conversions ORDER BY created_at DESC LIMIT 5;",
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_exists_and_takes_those_arguments(words):
    name, *arguments = words
    app = get_commands()[name]
    command = load_command_class(app, name) if isinstance(app, str) else app
    command.create_parser("manage.py", name).parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings]


@pytest.mark.django_db
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.text[:50])
def test_the_queries_run(query: Block):
    with connection.cursor() as cursor:
        cursor.execute(query.text)


def test_the_queries_of_the_contract_are_there_as_they_stand():
    there = [" ".join(block.text.split()) for block in blocks(OPERATIONS)]
    assert [query for query in CONTRACT if query not in there] == []


@pytest.mark.parametrize(
    "choices",
    [WebhookDelivery.Status, WebhookLog.Routing, WebhookLog.Processing, OutboxMessage.Status],
    ids=lambda choices: choices.__qualname__,
)
def test_every_status_is_explained(choices):
    explained = {cells[0].strip("`") for cells in rows(section(OPERATIONS, "What the statuses mean"))}
    assert set(choices.values) <= explained


def test_every_reason_of_the_log_is_explained():
    explained = {cells[0] for cells in rows(section(OPERATIONS, "What the statuses mean"))}
    assert set(EXPLAINED) <= explained


def test_the_services_run_what_the_procfile_runs():
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    web = procfile["web"].replace("0.0.0.0", "127.0.0.1")
    web = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", web)
    services = [text for language, text in blocks(DEPLOY) if language == "ini"]
    lines = [line.removeprefix("ExecStart=/srv/onai/.venv/bin/") for text in services for line in text.splitlines()]
    assert web in lines
    assert procfile["worker"] in lines
