from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.client import ClientHandler
from structlog.testing import capture_logs

from onai_project.wsgi import application
from tests import bodies
from traffic.models import Targetologist
from webhooks import registry, store
from webhooks.models import Source, WebhookDelivery, WebhookRefusal

DOORS = {
    "/webhook/amocrm/traffic": Source.TRAFFIC,
    "/webhook/amocrm/referral": Source.REFERRAL,
    "/webhook/amocrm": Source.ACCOUNT,
}
every_door = pytest.mark.parametrize("path", DOORS)
pytestmark = pytest.mark.django_db


def post(client: Client, path: str, body: bytes, content_type: str = bodies.FORM, **headers: Any) -> Any:
    return client.generic("POST", path, body, content_type, **headers)


@every_door
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_delivery_is_stored_byte_for_byte_and_answered(client: Client, path: str, slash: str):
    body = bodies.payload("won-status-account-last-plain-keys.txt")
    response = post(client, path + slash, body, HTTP_X_AMOCRM_REQUESTID="abc")
    delivery = WebhookDelivery.objects.get()
    answer = response.json()
    assert (response.status_code, list(answer)) == (200, ["success", "delivery", "endpoint", "timestamp"])
    assert (answer["success"], answer["delivery"], answer["endpoint"]) == (True, delivery.pk, path)
    assert bytes(delivery.body or b"") == body
    assert (delivery.source, delivery.status, delivery.content_type) == (DOORS[path], "received", bodies.FORM)
    assert delivery.headers["X-Amocrm-Requestid"] == "abc"
    assert delivery.remote_addr == "127.0.0.1"


@every_door
@pytest.mark.parametrize("slash", ["", "/"])
def test_get_and_head_say_that_it_is_there(client: Client, path: str, slash: str):
    assert client.get(path + slash).json()["success"] is True
    assert client.head(path + slash).status_code == 200


@every_door
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_405_in_json(client: Client, path: str, method: str):
    response = client.generic(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert response.json()["success"] is False
    assert method in response.json()["error"]


def test_the_traffic_test_endpoint_has_exactly_the_contracts_keys(client: Client):
    for path in ("/webhook/amocrm/traffic/test", "/webhook/amocrm/traffic/test/"):
        answer = client.get(path).json()
        assert answer.pop("timestamp").endswith("Z")
        assert json.dumps(answer) == json.dumps(
            {
                "success": True,
                "message": "Traffic Dashboard webhook endpoint is active",
                "endpoint": "/webhook/amocrm/traffic",
                "version": "1.0.0",
                "pipeline": 10418746,
                "targetologists": ["Kenesary", "Arystan", "Muha", "Traf4"],
            }
        )


def test_the_traffic_test_endpoint_follows_settings_and_database(client: Client, settings: Any):
    settings.TRAFFIC_PIPELINE_IDS = [5]
    Targetologist.objects.filter(slug="kenesary").update(order=99)
    answer = client.get("/webhook/amocrm/traffic/test").json()
    assert (answer["pipeline"], answer["targetologists"]) == (5, ["Arystan", "Muha", "Traf4", "Kenesary"])


def test_the_referral_test_endpoint_has_exactly_the_contracts_keys(client: Client):
    answer = client.get("/webhook/amocrm/referral/test").json()
    assert list(answer) == ["success", "message", "endpoint", "timestamp", "version"]
    assert (answer["message"], answer["endpoint"]) == (
        "Referral webhook endpoint is active", "/webhook/amocrm/referral",
    )  # fmt: skip


# --- the secret ---------------------------------------------------------------------------------


@every_door
@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", "?kex=new", "?key=new%00", "?key=ключ", "?key=new&key=x"])
def test_a_wrong_or_missing_secret_is_403_and_counted_and_stores_nothing(
    client: Client, settings: Any, path: str, query: str
):
    settings.AMOCRM_WEBHOOK_SECRETS = ["new", "old"]
    for _ in range(2):
        response = post(client, path + query, b"leads[status][0][id]=1")
        assert (response.status_code, response.json()["success"]) == (403, False)
        assert "key" in response.json()["error"]
    assert not WebhookDelivery.objects.exists()
    refusal = WebhookRefusal.objects.get()
    assert (refusal.source, refusal.reason, refusal.count) == (DOORS[path], "secret", 2)


@every_door
@pytest.mark.parametrize("key", ["new", "old", "%6Eew"])
def test_several_secrets_are_valid_at_once_and_none_is_stored(client: Client, settings: Any, path: str, key: str):
    settings.AMOCRM_WEBHOOK_SECRETS = ["new", "old"]
    assert post(client, f"{path}?a=1&key={key}&b=2", b"leads[status][0][id]=1").status_code == 200
    delivery = WebhookDelivery.objects.get()
    assert delivery.query == "a=1&b=2"
    assert "new" not in json.dumps(delivery.headers)


def test_cookies_and_credentials_are_not_stored(client: Client):
    client.cookies["sessionid"] = "s3cret"
    post(client, "/webhook/amocrm", b"a=1", HTTP_AUTHORIZATION="Bearer s3cret")
    assert "s3cret" not in json.dumps(WebhookDelivery.objects.get().headers)


def test_no_secret_and_no_body_is_in_the_log(client: Client, settings: Any):
    settings.AMOCRM_WEBHOOK_SECRETS = ["s3cret"]
    with capture_logs() as lines:
        post(client, "/webhook/amocrm/traffic?key=s3cret", bodies.hook(1, name="Айгерим"))
        post(client, "/webhook/amocrm/traffic?key=almost-s3cret", bodies.hook(1, name="Айгерим"))
    assert "Traffic Webhook" in str(lines)
    assert "s3cret" not in str(lines)
    assert "Айгерим" not in str(lines)


@pytest.mark.parametrize(("path", "words"), [("traffic", "Traffic Webhook"), ("referral", "Referral Webhook")])
def test_log_lines_can_be_grepped_by_route(client: Client, path: str, words: str):
    with capture_logs() as lines:
        post(client, f"/webhook/amocrm/{path}", b"a=1")
    assert words in str(lines)


# --- bodies -------------------------------------------------------------------------------------


@every_door
def test_a_body_over_a_mebibyte_is_413_and_counted(client: Client, path: str):
    response = post(client, path, b"a=" + b"x" * (1024 * 1024))
    assert (response.status_code, response.json()["success"]) == (413, False)
    assert not WebhookDelivery.objects.exists()
    assert WebhookRefusal.objects.get().reason == "too_large"


def test_a_body_of_exactly_a_mebibyte_is_stored(client: Client):
    assert post(client, "/webhook/amocrm", b"a=" + b"x" * (1024 * 1024 - 2)).status_code == 200


@every_door
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"{", "application/json"), (b"[1", bodies.FORM), (b"a=1", "application/json; charset=utf-8"),
     (b"&&=", bodies.FORM),
     (b"--x\r\n", "multipart/form-data; boundary=x")],
)  # fmt: skip
def test_a_body_that_is_neither_form_nor_json_is_400_and_stored_as_invalid(
    client: Client, path: str, body: bytes, content_type: str
):
    response = post(client, path, body, content_type)
    delivery = WebhookDelivery.objects.get()
    assert (response.status_code, response.json()["success"]) == (400, False)
    assert response.json()["delivery"] == delivery.pk
    assert (delivery.status, bytes(delivery.body or b"")) == ("invalid", body)
    assert delivery.error_message == response.json()["error"]


@pytest.mark.parametrize("name", ["contact-linked-leads.txt", "note.txt", "account-only.txt", "empty.txt", "talk.json"])
def test_a_valid_body_without_a_deal_is_200(client: Client, name: str):
    assert post(client, "/webhook/amocrm", bodies.payload(name), bodies.content_type(name)).status_code == 200


def test_five_thousand_fields_are_taken(client: Client):
    body = b"&".join(b"leads[add][%d][id]=%d" % (i, i + 1) for i in range(5000))
    assert post(client, "/webhook/amocrm", body).status_code == 200


@pytest.mark.parametrize("content_type", ["", "x" * 5000, "text/plain; charset=latin-1"])
def test_any_content_type_is_taken(client: Client, content_type: str):
    assert post(client, "/webhook/amocrm", b"a=1", content_type).status_code == 200
    assert len(WebhookDelivery.objects.get().content_type) <= 255


def test_a_query_of_thousands_of_fields_is_taken(client: Client):
    assert post(client, "/webhook/amocrm?" + "&".join(f"a{i}=1" for i in range(3000)), b"a=1").status_code == 200


@pytest.mark.parametrize(
    ("behind", "forwarded", "address"),
    [(False, "1.2.3.4", "127.0.0.1"), (True, "9.9.9.9, 1.2.3.4", "1.2.3.4"), (True, "nonsense", None)],
)
def test_the_senders_address_is_the_proxys_word_only_behind_our_proxy(
    client: Client, settings: Any, behind: bool, forwarded: str, address: str | None
):
    settings.BEHIND_PROXY = behind
    post(client, "/webhook/amocrm", b"a=1", HTTP_X_FORWARDED_FOR=forwarded)
    assert WebhookDelivery.objects.get().remote_addr == address


def test_an_endpoint_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(registry.endpoints()[1])


class ByWsgi(ClientHandler):
    """Sends what a test client asks for to the web server's own application."""

    def __call__(self, environ: dict[str, Any]) -> Any:
        started: list[Any] = []
        body = b"".join(application(environ, lambda *line: started.append(line)))
        response = HttpResponse(body, status=int(started[0][0].split()[0]), headers=dict(started[0][1]))
        response.wsgi_request = RequestFactory().get("/")  # type: ignore[attr-defined]  # the client wants one
        return response


@pytest.fixture
def by_wsgi(client: Client) -> Client:
    client.handler = ByWsgi(enforce_csrf_checks=True)
    return client


@every_door
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("method", "query", "body"),
    [
        ("POST", "", bodies.payload("won-status-account-last-plain-keys.txt")),
        ("POST", "", b'{"leads": '),
        ("POST", "?key=wrong", b"a=1"),
        ("GET", "", b""),
        ("PUT", "", b"a=1"),
    ],
)
def test_the_short_way_and_the_url_conf_are_one_door(
    client: Client, settings: Any, path: str, slash: str, method: str, query: str, body: bytes
):
    if query:
        settings.AMOCRM_WEBHOOK_SECRETS = ["right"]

    def answer() -> tuple[int, dict[str, Any], dict[str, str]]:
        response = client.generic(method, path + slash + query, body, bodies.FORM)
        headers = {name: response.headers.get(name, "") for name in ("Content-Type", "Allow")}
        assert int(response.headers["Content-Length"]) == len(response.content)
        return response.status_code, {**response.json(), "timestamp": "", "delivery": 0}, headers

    client.handler = ClientHandler(enforce_csrf_checks=True)
    answers = [answer()]
    stored = WebhookDelivery.objects.count()
    client.handler = ByWsgi()
    answers.append(answer())
    assert answers[0] == answers[1]
    assert WebhookDelivery.objects.count() == 2 * stored


def test_a_delivery_is_taken_under_any_host_name(by_wsgi: Client, settings: Any):
    settings.ALLOWED_HOSTS = ["right.example"]
    response = post(by_wsgi, "/webhook/amocrm/traffic", b"a=1", HTTP_HOST="wrong.example")
    assert (response.status_code, WebhookDelivery.objects.count()) == (200, 1)


def test_every_other_address_is_djangos(by_wsgi: Client):
    assert by_wsgi.get("/health/live").status_code == 200
    assert by_wsgi.get("/webhook/amocrm/nobody").status_code == 404


def test_a_body_shorter_than_announced_is_not_stored(by_wsgi: Client):
    broken: dict[str, Any] = {"CONTENT_LENGTH": "30", "wsgi.input": BytesIO(b"a=1")}
    response = post(by_wsgi, "/webhook/amocrm/traffic", b"a=1", **broken)
    assert (response.status_code, response.json()["error"]) == (400, "the body broke off")
    assert not WebhookDelivery.objects.exists()


def test_what_nobody_thought_of_is_a_503_and_a_logged_error(by_wsgi: Client, monkeypatch: pytest.MonkeyPatch):
    def fail(**_: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(store, "store_delivery", fail)
    with capture_logs() as lines:
        response = post(by_wsgi, "/webhook/amocrm/traffic", b"a=1")
    assert (response.status_code, response.json()["success"]) == (503, False)
    assert [line["log_level"] for line in lines] == ["error"]
