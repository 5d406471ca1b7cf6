"""The short way to the door: a delivery needs no session, login, CSRF token or content policy, which are for people."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from webhooks.urls import DOORS
from webhooks.views import receive_delivery


def door(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer the endpoints' addresses here, before the rest of MIDDLEWARE; without it their views do, slower."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        endpoint = DOORS.get(request.path_info)
        return get_response(request) if endpoint is None else receive_delivery(request, endpoint)

    return middleware
