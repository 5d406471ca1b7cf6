from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from onai_project import roles
from tests.onai_project.rows import make_user, one_of_each

pytestmark = pytest.mark.django_db

TRAFFIC = [
    "traffic-dashboard",
    *(f"admin:traffic_{model}_changelist" for model in ("sale", "adspend", "salesnotification")),
]
RULES = [
    "admin:traffic_attributionrule_changelist",
    "traffic-tester",
    "traffic-unattributed",
    "admin:traffic_reattributionrun_changelist",
    "admin:traffic_saleoverride_changelist",
    "admin:traffic_funnel_changelist",
    "admin:traffic_pipeline_changelist",
    "admin:traffic_targetologist_changelist",
    "admin:traffic_digest_changelist",
    "admin:traffic_digestschedule_changelist",
    "admin:notifications_telegramchat_changelist",
]
REFERRALS = [
    "referral-dashboard",
    *(
        f"admin:referrals_{model}_changelist"
        for model in ("conversion", "earning", "referrer", "commissionplan", "referrergroup")
    ),
    *(f"admin:cabinet_{model}_changelist" for model in ("cabinet", "landingpage", "cabinetmessage", "accessevent")),
    *(f"admin:payouts_{model}_changelist" for model in ("payoutbatch", "payout", "bankdetails", "ledgercheck")),
]
CONTACTS = ["admin:webhooks_contact_changelist"]
WEBHOOKS = [
    *(f"admin:webhooks_{model}_changelist" for model in ("webhookdelivery", "webhooklog", "deal", "dealtransition")),
    *(f"admin:webhooks_{model}_changelist" for model in ("webhookrefusal", "counter", "heartbeat", "apistate")),
    "admin:webhooks_apiquestion_changelist",
    "admin:webhooks_reconciliation_changelist",
    "admin:webhooks_reconciliationfinding_changelist",
]
STATE = ["system-state", "admin:notifications_alarmmessage_changelist"]
USERS = ["admin:auth_user_changelist", "admin:auth_group_changelist"]
EVERYTHING = [*TRAFFIC, *RULES, *REFERRALS, *CONTACTS, *WEBHOOKS, *STATE, *USERS]
ALLOWED = {
    roles.HEAD_OF_TRAFFIC: [*TRAFFIC, *RULES],
    roles.TARGETOLOGIST: TRAFFIC,
    roles.REFERRAL_MANAGER: [*REFERRALS, *CONTACTS],
    roles.ADMINISTRATOR: EVERYTHING,
}


@pytest.mark.parametrize("role", list(ALLOWED))
def test_a_role_opens_its_own_pages_and_no_other(client: Client, role):
    one_of_each()
    client.force_login(make_user("someone", role=role))
    opened = [view for view in EVERYTHING if client.get(reverse(view)).status_code == 200]
    refused = [view for view in EVERYTHING if client.get(reverse(view)).status_code == 403]
    assert opened == ALLOWED[role]
    assert opened + refused == sorted(EVERYTHING, key=lambda view: view in refused)


@pytest.mark.parametrize("role", list(ALLOWED))
def test_the_sidebar_has_what_the_role_opens(client: Client, role):
    client.force_login(make_user("someone", role=role))
    groups = client.get(reverse("admin:index"), follow=True).context["sidebar_navigation"]
    links = {item["link"] for group in groups for item in group["items"]}
    assert links == {reverse(view) for view in ALLOWED[role]}


@pytest.mark.parametrize("view", EVERYTHING)
def test_nobody_and_the_office_visitor_open_nothing(client: Client, view):
    assert client.get(reverse(view)).status_code == 302
    client.force_login(User.objects.create_user("visitor"))
    assert client.get(reverse(view)).status_code == 302


def test_the_roles_come_back_and_what_was_added_stays():
    group = Group.objects.get(name=roles.TARGETOLOGIST)
    extra = Permission.objects.get(codename="view_referrer")
    group.permissions.set([extra])
    Group.objects.get(name=roles.REFERRAL_MANAGER).delete()
    roles.create_roles()
    roles.create_roles()
    assert set(group.permissions.values_list("codename", flat=True)) == {
        "view_referrer",
        "view_sale",
        "view_salesnotification",
        "view_adspend",
    }
    assert Group.objects.get(name=roles.REFERRAL_MANAGER).permissions.count() == 44


def test_a_targetologists_first_page_is_their_dashboard(client: Client):
    client.force_login(make_user("muha", role=roles.TARGETOLOGIST))
    assert client.get("/admin/").headers["Location"] == reverse("traffic-dashboard")


@pytest.mark.parametrize("role", [role for role in ALLOWED if role != roles.TARGETOLOGIST])
def test_everybody_elses_first_page_is_the_overview(client: Client, role):
    client.force_login(make_user("someone", role=role))
    assert "matters" in client.get("/admin/").context


def test_nobodys_first_page_is_the_login(client: Client):
    assert client.get("/admin/").headers["Location"].startswith("/admin/login/")
    client.force_login(User.objects.create_user("visitor"))
    assert client.get("/admin/").headers["Location"].startswith("/admin/login/")


def test_an_administrator_makes_no_superuser(client: Client):
    client.force_login(make_user("office", role=roles.ADMINISTRATOR))
    clerk = User.objects.create_user("clerk")
    client.post(
        reverse("admin:auth_user_change", args=[clerk.pk]),
        {"username": "clerk", "first_name": "К", "is_superuser": "on", "is_active": "on", "is_staff": "on"},
    )
    clerk.refresh_from_db()
    assert (clerk.first_name, clerk.is_staff, clerk.is_superuser) == ("К", True, False)


def test_an_administrator_changes_no_superuser(client: Client):
    client.force_login(make_user("office", role=roles.ADMINISTRATOR))
    owner = make_user("owner", superuser=True)
    assert client.post(reverse("admin:auth_user_change", args=[owner.pk]), {"username": "x"}).status_code == 403
    passwords = {"password1": "a-new-password-1", "password2": "a-new-password-1"}
    assert client.post(reverse("admin:auth_user_password_change", args=[owner.pk]), passwords).status_code == 403


def test_permissions_are_offered_in_russian(client: Client):
    client.force_login(make_user("boss", superuser=True))
    page = client.get(
        reverse("admin:auth_group_change", args=[Group.objects.get(name=roles.TARGETOLOGIST).pk])
    ).content.decode()
    assert "Трафик · продажи · просмотр" in page
    assert "Видит продажи всех таргетологов" in page
    assert "Can view" not in page
