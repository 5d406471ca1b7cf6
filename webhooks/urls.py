"""The endpoints of all apps, with and without a trailing slash: AmoCRM takes a redirect for a failure."""

from __future__ import annotations

from django.urls import path

from webhooks import registry, views

_ENDPOINTS = [(endpoint, slash) for slash in ("", "/") for endpoint in registry.endpoints()]
DOORS = {f"{endpoint.path}{slash}": endpoint for endpoint, slash in _ENDPOINTS}

urlpatterns = [
    *[path(door.removeprefix("/webhook/"), views.receive_delivery, {"endpoint": DOORS[door]}) for door in DOORS],
    *[
        path(f"{endpoint.path.removeprefix('/webhook/')}/test{slash}", views.test_endpoint, {"endpoint": endpoint})
        for endpoint, slash in _ENDPOINTS
    ],
]
