"""The endpoints of all apps, with and without a trailing slash: AmoCRM takes a redirect for a failure."""

from __future__ import annotations

from django.urls import re_path

from webhooks import registry, views

urlpatterns = [
    re_path(rf"^{endpoint.path.removeprefix('/webhook/')}{suffix}/?$", view, {"endpoint": endpoint})
    for endpoint in registry.endpoints()
    for suffix, view in (("/test", views.test_endpoint), ("", views.receive_delivery))
]
