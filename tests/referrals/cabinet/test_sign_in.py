from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Value
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from onai_project import roles
from referrals.cabinet import access, tokens
from referrals.cabinet.models import AccessEvent, CabinetMessage, CabinetSession, OneTimeToken, SignInAttempt
from tests.onai_project.rows import make_user

pytestmark = pytest.mark.django_db
ASK = "/r/in/"
OPEN = "/r/open/"
SIGN_IN = OneTimeToken.Purpose.SIGN_IN


@pytest.fixture
def token(dana) -> str:
    return tokens.token_issue(referrer=dana, purpose=SIGN_IN)


def token_in(text: str) -> str:
    found = re.search(r"/r/open/\?t=([\w-]+)", text)
    assert found is not None, text
    return found[1]


def without_csrf(page: bytes) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page.decode())


def test_a_link_signs_in_once(client: Client, token):
    assert client.get(OPEN, {"t": token}).status_code == 200
    answer = client.post(OPEN, {"t": token})
    assert (answer.status_code, answer["Location"]) == (302, "/r/")
    assert "Дана" in client.get("/r/").content.decode()
    other = Client()
    assert other.post(OPEN, {"t": token}).status_code == 410
    assert other.get("/r/")["Location"] == ASK


def test_a_messenger_that_looks_at_the_link_uses_nothing_up(client: Client, token):
    for _ in range(3):
        page = client.get(OPEN, {"t": token})
        assert "Дана" not in page.content.decode()
    assert client.post(OPEN, {"t": token}).status_code == 302


def test_a_link_dies_after_a_quarter_of_an_hour(client: Client, token):
    OneTimeToken.objects.update(expires_at=Now() - Value(timedelta(seconds=1)))
    assert client.get(OPEN, {"t": token}).status_code == 410
    assert client.post(OPEN, {"t": token}).status_code == 410
    assert timedelta(minutes=15) == tokens.LIFETIME


def test_a_new_link_kills_the_old_one(client: Client, dana, token):
    tokens.token_issue(referrer=dana, purpose=SIGN_IN)
    assert client.post(OPEN, {"t": token}).status_code == 410


def test_a_token_for_a_chat_signs_nobody_in(client: Client, dana):
    token = tokens.token_issue(referrer=dana, purpose=OneTimeToken.Purpose.LINK_CHAT)
    assert client.post(OPEN, {"t": token}).status_code == 410


def test_neither_a_link_nor_a_session_is_stored(client: Client, token):
    client.post(OPEN, {"t": token})
    secret = client.cookies[access.COOKIE].value
    stored = str([*OneTimeToken.objects.values(), *CabinetSession.objects.values()])
    assert token not in stored
    assert secret not in stored


def test_signing_in_needs_the_csrf_token(token):
    client = Client(enforce_csrf_checks=True)
    assert client.post(OPEN, {"t": token}).status_code == 403


def test_the_cookie_is_the_cabinets_own(client: Client, token, settings):
    settings.SESSION_COOKIE_SECURE = True
    cookie = client.post(OPEN, {"t": token}).cookies[access.COOKIE]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"], cookie["secure"]) == ("/r/", True, "Lax", True)
    assert "sessionid" not in client.cookies
    assert client.get("/admin/").status_code == 302


def test_the_admins_session_opens_no_cabinet(client: Client):
    client.force_login(make_user("boss", superuser=True))
    assert client.get("/r/")["Location"] == ASK


@pytest.mark.parametrize("address", ["ref_dana", " DANA ", "dana@example.kz", "8 701 000 00 01", "+77010000001"])
def test_a_link_is_sent_to_the_linked_chat(client: Client, chat, address, sender, api):
    assert client.post(ASK, {"address": address}).status_code == 200
    assert CabinetMessage.objects.get().chat == chat
    sender.send_pending()
    token = token_in(api.texts[0])
    assert client.post(OPEN, {"t": token}).status_code == 302
    assert AccessEvent.objects.filter(kind="link_sent").count() == 1
    assert token not in str(list(CabinetMessage.objects.values()))


@pytest.mark.parametrize("address", ["ref_nobody", "no@example.kz", "87010000009", "", "\0", "%"])
def test_an_unknown_address_gets_the_same_answer(client: Client, chat, address):
    known = client.post(ASK, {"address": "ref_dana"})
    unknown = client.post(ASK, {"address": address})
    assert unknown.status_code == known.status_code == 200
    assert without_csrf(unknown.content) == without_csrf(known.content)
    assert CabinetMessage.objects.count() == 1


@pytest.mark.parametrize("address", ["ref_dana", "ref_nobody"])
def test_too_many_questions_are_refused_whoever_is_asked_for(client: Client, chat, address):
    answers = [client.post(ASK, {"address": address}).status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    assert CabinetMessage.objects.count() == (3 if address == "ref_dana" else 0)
    SignInAttempt.objects.update(at=Now() - Value(access.WINDOW))
    assert client.post(ASK, {"address": address}).status_code == 200


def test_one_place_can_not_try_all_addresses(client: Client, chat):
    answers = [client.post(ASK, {"address": f"ref_{n}"}).status_code for n in range(access.PER_PLACE + 1)]
    assert answers == [200] * access.PER_PLACE + [429]


SPELLINGS = ["ref_dana", "DANA", "dana@example.kz", "8 701 000 00 01", "+77010000001", "7 701 000 0001"]


def test_a_person_is_counted_however_they_are_spelled(client: Client, chat):
    answers = [client.post(ASK, {"address": address}) for address in SPELLINGS]
    assert {answer.status_code for answer in answers} == {200}
    assert len({without_csrf(answer.content) for answer in answers}) == 1
    assert CabinetMessage.objects.count() == access.PER_ADDRESS


@pytest.mark.django_db(transaction=True)
def test_questions_asked_at_once_do_not_pass_the_limit(chat):
    barrier = threading.Barrier(len(SPELLINGS))

    def ask(address: str) -> None:
        barrier.wait(5)
        access.link_request(address=address, place=address)
        connection.close()

    threads = [threading.Thread(target=ask, args=(address,)) for address in SPELLINGS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert SignInAttempt.objects.count() == 3 * len(SPELLINGS)
    assert CabinetMessage.objects.count() == access.PER_ADDRESS


def test_behind_our_proxy_a_place_is_what_the_proxy_saw(client: Client, chat, settings):
    def ask(number: int, forwarded: str) -> int:
        return client.post(ASK, {"address": f"ref_{number}"}, headers={"X-Forwarded-For": forwarded}).status_code

    settings.BEHIND_PROXY = True
    # What a client says of itself stands before what the proxy adds.
    answers = [ask(number, f"10.0.0.{number}, 203.0.113.7") for number in range(access.PER_PLACE + 1)]
    assert answers == [200] * access.PER_PLACE + [429]
    assert ask(99, "203.0.113.7, 203.0.113.8") == 200
    settings.BEHIND_PROXY = False
    SignInAttempt.objects.all().delete()
    answers = [ask(number, f"198.51.100.{number}") for number in range(access.PER_PLACE + 1)]
    assert answers == [200] * access.PER_PLACE + [429]


def test_signing_out_ends_the_session_for_good(dana, sign_in):
    browser = sign_in(dana)
    secret = browser.cookies[access.COOKIE].value
    browser.post("/r/out/")
    thief = Client()
    thief.cookies[access.COOKIE] = secret
    assert thief.get("/r/")["Location"] == ASK


def test_signing_out_everywhere(dana, erzhan, sign_in):
    phone, desk, other = sign_in(dana), sign_in(dana), sign_in(erzhan)
    desk.post("/r/out/everywhere/")
    assert phone.get("/r/").status_code == 302
    assert other.get("/r/").status_code == 200


def test_a_session_ends_by_itself(dana, sign_in):
    browser = sign_in(dana)
    CabinetSession.objects.update(expires_at=Now())
    assert browser.get("/r/").status_code == 302


@pytest.mark.parametrize("path", ["/r/", "/r/sales/", "/r/sales.csv", "/r/qr/1.svg", "/r/settings/"])
def test_without_a_session_every_page_leads_to_the_door(client: Client, path):
    assert client.get(path)["Location"] == ASK
    client.cookies[access.COOKIE] = "made-up"
    assert client.get(path)["Location"] == ASK


def test_pages_are_cached_nowhere(dana, sign_in):
    for path in ("/r/", "/r/in/", "/r/open/?t=x", "/r/sales.csv"):
        assert "no-store" in sign_in(dana).get(path)["Cache-Control"]


def test_what_lets_nobody_in_any_more_is_deleted(dana, sign_in):
    sign_in(dana)
    tokens.token_issue(referrer=dana, purpose=SIGN_IN)
    access.link_request(address="x", place="y")
    assert access.delete_expired() == 0
    long_ago = Now() - Value(timedelta(days=1))
    CabinetSession.objects.update(expires_at=long_ago)
    OneTimeToken.objects.update(expires_at=long_ago)
    SignInAttempt.objects.update(at=long_ago)
    assert access.delete_expired() == 5


# --- The manager -----------------------------------------------------------------------------------


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    return client


def test_a_manager_copies_a_link(manager, dana):
    address = reverse("admin:cabinet_cabinet_link", args=[dana.pk])
    assert "/r/open/" not in manager.get(address).content.decode()
    token = token_in(manager.post(address).content.decode())
    assert Client().post(OPEN, {"t": token}).status_code == 302
    event = AccessEvent.objects.get(kind="link_made")
    assert (event.referrer, str(event.by)) == (dana, "refs")


def test_a_manager_looks_inside_and_leaves_a_trace(manager, dana, erzhan):
    address = reverse("admin:cabinet_cabinet_view_as", args=[dana.pk])
    manager.get(address)
    assert access.COOKIE not in manager.cookies
    assert manager.post(address)["Location"] == "/r/"
    page = manager.get("/r/").content.decode()
    assert "Вы смотрите кабинет: Дана" in page
    manager.get("/r/sales/")
    events = AccessEvent.objects.filter(by__username="refs", referrer=dana).order_by("pk")
    assert list(events.values_list("kind", "detail")) == [
        ("view_begun", ""),
        ("page_viewed", "/r/"),
        ("page_viewed", "/r/sales/"),
    ]


@pytest.mark.parametrize(
    "path", ["/r/settings/messages/", "/r/settings/telegram/", "/r/settings/telegram/off/", "/r/out/everywhere/"]
)
def test_a_manager_who_looks_changes_nothing(manager, dana, chat, sign_in, settings, path):
    settings.TELEGRAM_BOT_USERNAME = "bot"
    owner = sign_in(dana)
    manager.post(reverse("admin:cabinet_cabinet_view_as", args=[dana.pk]))
    assert manager.post(path).status_code == 403
    assert owner.get("/r/").status_code == 200
    dana.linked_chat.refresh_from_db()
    assert dana.linked_chat.accruals
    assert not OneTimeToken.objects.filter(purpose="link_chat").exists()


def test_looking_ends_with_the_managers_rights(manager, dana):
    manager.post(reverse("admin:cabinet_cabinet_view_as", args=[dana.pk]))
    User.objects.get(username="refs").groups.clear()
    assert manager.get("/r/").status_code == 302


def test_looking_ends_when_the_manager_signs_out_and_does_not_begin_again_by_itself(manager, dana):
    manager.post(reverse("admin:cabinet_cabinet_view_as", args=[dana.pk]))
    manager.post(reverse("admin:logout"))
    assert manager.get("/r/").status_code == 302
    manager.force_login(User.objects.get(username="refs"))
    assert manager.get("/r/").status_code == 302


@pytest.mark.parametrize("loss", ["expired", "password", "somebody else"])
def test_looking_ends_with_the_managers_session(manager, dana, loss):
    manager.post(reverse("admin:cabinet_cabinet_view_as", args=[dana.pk]))
    assert manager.get("/r/").status_code == 200
    if loss == "expired":
        Session.objects.all().delete()
    elif loss == "password":
        user = User.objects.get(username="refs")
        user.set_password("another-good-password")
        user.save()
    else:
        manager.force_login(make_user("boss", superuser=True))
    assert manager.get("/r/").status_code == 302


def test_the_cookie_of_a_look_alone_opens_nothing(manager, dana):
    manager.post(reverse("admin:cabinet_cabinet_view_as", args=[dana.pk]))
    thief = Client()
    thief.cookies[access.COOKIE] = manager.cookies[access.COOKIE].value
    assert thief.get("/r/").status_code == 302


def test_looking_ends_after_half_an_hour(manager, dana):
    manager.post(reverse("admin:cabinet_cabinet_view_as", args=[dana.pk]))
    session = CabinetSession.objects.get()
    assert session.expires_at - session.created_at == timedelta(minutes=30)


@pytest.mark.parametrize("view", ["link", "view_as"])
@pytest.mark.parametrize("role", [roles.HEAD_OF_TRAFFIC, roles.TARGETOLOGIST])
def test_other_roles_open_no_cabinet(client: Client, dana, role, view):
    client.force_login(make_user("someone", role=role))
    address = reverse(f"admin:cabinet_cabinet_{view}", args=[dana.pk])
    assert client.get(address).status_code == client.post(address).status_code == 403
    assert not AccessEvent.objects.exists()
