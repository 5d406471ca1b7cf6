"""Every address that the site knows, opened by everybody: who is nobody opens nothing, and a role sees only its own.

Addresses are taken from the URLconf, so that a new page is walked without being listed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from django.apps import apps as installed
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from openpyxl import load_workbook

from onai_project import roles
from onai_project.api import make_token
from referrals.models import Referrer
from referrals.payouts.models import Payout
from tests.onai_project.rows import make_conversion, make_sale, make_user, one_of_each
from traffic.models import AdSpend, Sale, SalesNotification, Targetologist
from webhooks.models import Contact

pytestmark = pytest.mark.django_db

# What nobody at all may open, without a login of any kind: doors, health, the ways in, files without data.
OPEN = {"/health/live", "/health/ready", "/metrics", "/admin/login/", "/admin/jsi18n/", "/r/in/", "/r/open/"}
# These end the session, or need one of their own.
SKIPPED = ("/admin/logout/",)
# What an address calls the number of the row that it is about.
ROW_KEYS = ("object_id", "pk", "id")
SAMPLES = {
    "app_label": "traffic",
    "content_type_id": "1",
    "table": "lines",
    "ending": "csv",
    "uidb64": "x",
    "token": "x",
    "format": "json",
    "kind": "exclude",
}

# What stands only in somebody else's sale, message, spend, conversion or contact.
FOREIGN = ("Чужая сделка", "foreign_campaign", "7\u2009654\u2009321", "7654321", "6\u2009543\u2009210", "6543210")
CONTACTS = ("Айгерим Тестова", "+7 700 000 00 01", "x@d.b")
REFERRALS = ("Реферальная сделка", "ref_secret")


def patterns(resolver: Any, prefix: str = "/") -> Iterator[tuple[str, URLPattern]]:
    for one in resolver.url_patterns:
        if isinstance(one, URLResolver):
            yield from patterns(one, prefix + str(one.pattern))
        else:
            yield prefix + str(one.pattern), one


def rows_of(name: str) -> list[Any]:
    """Return the rows whose pages an admin address can show, from its name (traffic_sale_change)."""
    for model in admin.site._registry:
        if name.startswith(f"{model._meta.app_label}_{model._meta.model_name}_"):
            return list(model._default_manager.order_by("pk"))
    return []


def addresses() -> list[str]:
    """Return an address for every pattern, one for every row where it shows rows."""
    found: set[str] = set()
    for route, pattern in patterns(get_resolver()):
        keys = list(pattern.pattern.converters)
        row_key = next((key for key in keys if key in ROW_KEYS), None)
        rows = rows_of(pattern.name or "") if row_key else [None]
        for row in rows or [None]:
            address = route
            for key in keys:
                value = str(row.pk) if key == row_key and row is not None else SAMPLES.get(key, "1")
                for converter in ("path", "str", "int", "slug", "uuid"):
                    address = address.replace(f"<{converter}:{key}>", value).replace(f"<{key}>", value)
            found.add(address)
    for model in admin.site._registry:
        meta = model._meta
        found.add(f"/admin/{meta.app_label}/{meta.model_name}/?q=foreign")
        found.add(f"/admin/{meta.app_label}/{meta.model_name}/?q=ужая")
        for field in meta.get_fields():
            if field.is_relation and not field.auto_created:
                query = f"app_label={meta.app_label}&model_name={meta.model_name}&field_name={field.name}&term=e"
                found.add(f"/admin/autocomplete/?{query}")
    for query in ("targetologist=kenesary", "q=foreign", "show=lacking", "show=reversed", "targetologist=unknown"):
        for page in ("/admin/traffic/dashboard/", "/admin/traffic/dashboard/sales/", "/api/traffic/dashboard/"):
            found.add(f"{page}?{query}")
        for file in ("lines.csv", "parts.csv", "days.csv", "totals.csv", "all.xlsx", "sales.csv", "sales.xlsx"):
            found.add(f"/admin/traffic/dashboard/{file}?{query}")
        found.add(f"/api/traffic/sales/?{query}")
    # What matches no regular expression's text is no address: Django's own catch-alls.
    return sorted(address for address in found if not set("^$(\\<") & set(address) and address not in SKIPPED)


@pytest.fixture
def everything() -> None:
    """One of each, an own sale of Muha's, and what is somebody else's."""
    one_of_each()
    Sale.objects.update(lead_name="Обычная")
    make_sale(500, lead_name="Своя сделка", channel="targetologist", targetologist_id="muha")
    whose: list[dict[str, Any]] = [{"channel": "targetologist", "targetologist_id": "kenesary"}, {}]
    whose += [{"channel": "referral"}, {"state": "reversed"}]
    for number, fields in enumerate(whose):
        make_sale(
            600 + number,
            lead_name="Чужая сделка",
            sale_amount=Decimal(7_654_321),
            utm_campaign="foreign_campaign",
            **fields,
        )
    SalesNotification.objects.create(
        lead_id=600,
        lead_name="Чужая сделка",
        sale_amount=7_654_321,
        utm_campaign="foreign_campaign",
        targetologist_id="kenesary",
        sale_date=Sale.objects.get(lead_id=600).sale_date,
        notification_status="failed",
    )
    today = Sale.objects.get(lead_id=600).sale_date.date()
    AdSpend.objects.create(date=today, targetologist_id="kenesary", campaign="foreign_campaign", amount=6_543_210)
    referrer = Referrer.objects.create(code="ref_secret", name="Тайный")
    make_conversion(700, referrer, lead_name="Реферальная сделка")
    assert Contact.objects.exists()


def text_of(answer: Any) -> str:
    """Return what an answer says; of a workbook the text of every cell."""
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    if content.startswith(b"PK"):
        return "\n".join(
            str(cell.value) for sheet in load_workbook(BytesIO(content)) for row in sheet.iter_rows() for cell in row
        )
    return str(content.decode(errors="replace"))


def walk(client: Client, **headers: str) -> dict[str, tuple[int, str]]:
    """Open every address; return status and text. None may be an error of ours."""
    found = {}
    for address in addresses():
        answer = client.get(address, headers=headers or None)
        # A site without a worker says so to its watchdog.
        assert answer.status_code < 500 or address == "/health/ready", address
        found[address] = (answer.status_code, text_of(answer))
    return found


# What a form of the site may ask for before it does something; a deletion is confirmed by "post".
ANYTHING = {
    "post": "yes", "confirm": "1", "import": "", "make": "", "assign": "1", "reason": "Проверка", "owner": "muha",
    "text": "date;targetologist;amount\n2025-12-20;muha;5\n", "checked": "код;имя\nref_new;Новый\n",
    "paid_on": "2025-12-20", "action": "delete_selected", "_selected_action": "1", "username": "somebody",
}  # fmt: skip


def contents(apps: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return every row of these apps' tables."""
    return {
        model._meta.label: list(model._base_manager.order_by("pk").values())
        for model in installed.get_models()
        if model._meta.app_label in apps and model._meta.managed
    }


def changed_by(client: Client, apps: tuple[str, ...]) -> tuple[set[str], dict[str, int]]:
    """POST to every address behind the login; return which of these tables changed, and how each address answered."""
    before, answers = contents(apps), {}
    myself = f"/admin/auth/user/{client.session.get('_auth_user_id')}/"  # who is deleted does nothing more
    for address in addresses():
        inside = address.startswith(("/admin/", "/api/")) and address not in OPEN
        if inside and "?" not in address and not address.startswith(myself):
            answer = client.post(address, ANYTHING)
            assert answer.status_code < 500, address
            answers[address] = 401 if "/login/" in answer.headers.get("Location", "") else answer.status_code
    after = contents(apps)
    return {label for label in before if before[label] != after[label]}, answers


def leaks(found: dict[str, tuple[int, str]], markers: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(address, marker) for address, (_, text) in found.items() for marker in markers if marker in text]


def test_the_walk_meets_every_registered_page(everything):
    walked = addresses()
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.order_by("pk").first()
        if model is User:
            continue
        assert row is not None, model
        pk = row.pk
        assert {base, f"{base}{pk}/change/", f"{base}{pk}/delete/", f"{base}{pk}/history/"} <= set(walked)
    assert {"/admin/traffic/dashboard/", "/api/traffic/sales/", "/r/sales.csv"} <= set(walked)
    for sale in Sale.objects.all():
        assert f"/admin/traffic/sale/{sale.pk}/decide/" in walked
    for payout in Payout.objects.all():
        assert f"/admin/payouts/payout/{payout.pk}/statement/" in walked


def test_the_walk_would_see_a_leak(client: Client, everything):
    client.force_login(make_user("boss", superuser=True))
    found = walk(client)
    for marker in (*FOREIGN, *CONTACTS, *REFERRALS):
        assert leaks(found, (marker,)), marker


def test_nobody_and_the_visitor_open_nothing(client: Client, everything):
    for login in (False, True):
        if login:
            client.force_login(User.objects.create_user("visitor"))
        found = walk(client)
        opened = {address.split("?")[0] for address, (status, _) in found.items() if status == 200}
        assert {address for address in opened - OPEN if not address.startswith("/webhook/amocrm")} == set()
        assert leaks(found, (*FOREIGN, *CONTACTS, *REFERRALS)) == []


def test_a_targetologist_sees_nothing_of_others_anywhere(client: Client, everything):
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    client.force_login(user)
    found = walk(client)
    assert "Своя сделка" in found["/admin/traffic/dashboard/"][1]
    assert leaks(found, (*FOREIGN, *CONTACTS, *REFERRALS)) == []
    client.logout()
    by_key = walk(client, Authorization=f"Bearer {make_token(user=user)}")
    assert "Своя сделка" in by_key["/api/traffic/sales/"][1]
    assert leaks(by_key, (*FOREIGN, *CONTACTS, *REFERRALS)) == []


def test_a_head_of_traffic_sees_all_sales_and_no_contacts_or_referrals(client: Client, everything):
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    found = walk(client)
    assert leaks(found, FOREIGN)
    assert leaks(found, (*CONTACTS, *REFERRALS)) == []


def test_a_referral_manager_sees_no_traffic(client: Client, everything):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    found = walk(client)
    assert leaks(found, REFERRALS)
    assert leaks(found, FOREIGN) == []


def test_an_administrator_sees_everything(client: Client, everything):
    client.force_login(make_user("office", role=roles.ADMINISTRATOR))
    found = walk(client)
    for marker in (*FOREIGN, *CONTACTS, *REFERRALS):
        assert leaks(found, (marker,)), marker
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        pages = [base, *(address for address in found if re.fullmatch(f"{base}.+/change/", address))]
        assert {page: found[page][0] for page in pages if found[page][0] != 200} == {}


ALL = ("auth", "traffic", "notifications", "webhooks", "referrals", "cabinet", "payouts")


def test_the_walk_by_post_would_see_a_change(client: Client, everything):
    client.force_login(make_user("boss", superuser=True))
    changed, _ = changed_by(client, ALL)
    assert {label.split(".")[0] for label in changed} >= {"auth", "traffic", "referrals", "cabinet", "payouts"}


def test_nobody_and_the_visitor_change_nothing(client: Client, everything):
    for login in (False, True):
        if login:
            client.force_login(User.objects.create_user("visitor"))
        changed, answers = changed_by(client, ALL)
        assert changed == set()
        assert {address for address, status in answers.items() if status not in (401, 403)} == set()


@pytest.mark.parametrize(
    ("role", "others"),
    [
        (roles.TARGETOLOGIST, ALL),
        (roles.HEAD_OF_TRAFFIC, ("auth", "webhooks", "referrals", "cabinet", "payouts")),
        (roles.REFERRAL_MANAGER, ("auth", "webhooks", "traffic", "notifications")),
    ],
)
def test_a_role_changes_nothing_of_what_is_not_its_own(client: Client, everything, role, others):
    user = make_user("someone", role=role)
    Targetologist.objects.filter(slug="muha").update(user=user)
    client.force_login(user)
    changed, answers = changed_by(client, others)
    assert changed == set()
    pages = tuple(f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry)
    foreign = [page for page in pages if page.split("/")[2] not in roles.ROLES[role]]
    told = {address: status for address, status in answers.items() if address.startswith(tuple(foreign))}
    assert {address for address, status in told.items() if status == 200} == set()
