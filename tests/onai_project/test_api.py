from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from onai_project.api import make_token
from onai_project.models import ApiToken
from tests.onai_project.rows import make_user

pytestmark = pytest.mark.django_db

SCHEMA = "/api/schema/?format=json"


def bearer(token: str, word: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{word} {token}"}


def test_the_schema_is_for_staff_alone(client: Client):
    assert client.get(SCHEMA).status_code == 401
    client.force_login(User.objects.create_user("visitor"))
    assert client.get(SCHEMA).status_code == 403
    client.force_login(make_user("boss"))
    assert client.get(SCHEMA).json()["openapi"].startswith("3.")


@pytest.mark.parametrize("word", ["Bearer", "Token"])
def test_a_key_opens_what_its_person_may(client: Client, word):
    token = make_token(user=make_user("boss"))
    assert client.get(SCHEMA, headers=bearer(token, word)).status_code == 200


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Token a b", "Bearer \xff"])
def test_a_wrong_key_opens_nothing(client: Client, header):
    make_token(user=make_user("boss"))
    assert client.get(SCHEMA, headers={"Authorization": header}).status_code == 401


def test_the_key_of_somebody_dismissed_opens_nothing(client: Client):
    user = make_user("boss")
    token = make_token(user=user)
    User.objects.update(is_active=False)
    assert client.get(SCHEMA, headers=bearer(token)).status_code == 401
    User.objects.update(is_active=True, is_staff=False)
    assert client.get(SCHEMA, headers=bearer(token)).status_code == 403


def test_a_key_is_shown_once_and_kept_nowhere(client: Client):
    client.force_login(make_user("boss"))
    page = client.post(reverse("api-access"), {"make": ""}).content.decode()
    found = re.search(r'panel-key">([\w-]+)<', page)
    assert found is not None
    assert client.get(SCHEMA, headers=bearer(found[1])).status_code == 200
    assert found[1] not in client.get(reverse("api-access")).content.decode()
    assert ApiToken.objects.get().digest != found[1]


def test_a_new_key_ends_the_old_one_and_removing_ends_it_too(client: Client):
    user = make_user("boss")
    old, new = make_token(user=user), make_token(user=user)
    assert client.get(SCHEMA, headers=bearer(old)).status_code == 401
    client.force_login(user)
    client.post(reverse("api-access"), {"remove": ""})
    client.logout()
    assert client.get(SCHEMA, headers=bearer(new)).status_code == 401


def test_an_address_of_the_api_that_is_not_there_is_answered_in_json(client: Client):
    answer = client.get("/api/nothing/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")
