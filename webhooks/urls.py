"""The endpoints of all apps, with and without a trailing slash: AmoCRM takes a redirect for a failure."""

from __future__ import annotations

from django.urls import path

from webhooks import registry, views

urlpatterns = [
    *[
        path(address.removeprefix("/webhook/"), views.receive_delivery, {"endpoint": endpoint})
        for address, endpoint in registry.doors().items()
    ],
    *[
        path(f"{endpoint.path.removeprefix('/webhook/')}/test{slash}", views.test_endpoint, {"endpoint": endpoint})
        for endpoint in registry.endpoints()
        for slash in ("", "/")
    ],
]
