from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.onai_project.rows import make_user

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


def test_five_wrong_passwords_close_the_door(client: Client):
    make_user("boss", superuser=True)
    wrong = [client.post(LOGIN, {"username": "boss", "password": f"guess {n}"}) for n in range(5)]
    assert [answer.status_code for answer in wrong] == [200, 200, 200, 200, 429]
    right = client.post(LOGIN, {"username": "boss", "password": "a-good-password"})
    assert right.status_code == 429
    assert "Вход под этим именем закрыт на 15 мин." in right.content.decode()
    assert client.get(reverse("admin:index")).status_code == 302


def test_the_right_password_opens_it(client: Client):
    make_user("boss", superuser=True)
    client.post(LOGIN, {"username": "boss", "password": "wrong"})
    answer = client.post(LOGIN, {"username": "boss", "password": "a-good-password"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


def test_a_person_without_staff_status_does_not_enter(client: Client):
    user = make_user("visitor")
    user.is_staff = False
    user.save()
    answer = client.post(LOGIN, {"username": "visitor", "password": "a-good-password"})
    assert answer.status_code == 200
    assert client.get(reverse("admin:index")).status_code == 302


def test_pages_outside_the_admin_may_run_no_strange_script(client: Client):
    policy = client.get("/no-such-page").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_no_page_of_the_admin_may_run_inline_scripts(client: Client):
    policy = client.get(LOGIN).headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["script-src"] == "'self' 'unsafe-eval'"
    assert directives["default-src"] == "'self'"
