"""The endpoints of all apps, with and without a trailing slash: AmoCRM takes a redirect for a failure."""

from __future__ import annotations

from django.urls import path

from webhooks import registry, views

urlpatterns = [
    path(f"{endpoint.path.removeprefix('/webhook/')}{suffix}", view, {"endpoint": endpoint})
    for view, suffixes in ((views.receive_delivery, ("", "/")), (views.test_endpoint, ("/test", "/test/")))
    for suffix in suffixes
    for endpoint in registry.endpoints()
]
