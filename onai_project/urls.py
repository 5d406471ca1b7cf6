"""All addresses: the webhook's doors (contributed by the apps), the admin site with its dashboards, health."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from onai_project import api, health, state
from referrals import api as referral_api
from referrals import views as referrals
from traffic import views as traffic

urlpatterns = [
    path("webhook/", include("webhooks.urls")),
    path("r/", include("referrals.cabinet.urls")),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", health.metrics),
    # Before the admin's own catch-all; admin_view asks for a login and staff status.
    path("admin/traffic/dashboard/", admin.site.admin_view(traffic.dashboard), name="traffic-dashboard"),
    path("admin/referrals/dashboard/", admin.site.admin_view(referrals.dashboard), name="referral-dashboard"),
    path("admin/referrals/dashboard/", include("referrals.urls")),
    path("admin/state/", admin.site.admin_view(state.system_state), name="system-state"),
    path("admin/api/", admin.site.admin_view(api.api_access), name="api-access"),
    path("api/referrals/dashboard/", referral_api.DashboardView.as_view(), name="api-referral-dashboard"),
    path("api/referrals/entries/", referral_api.EntriesView.as_view(), name="api-referral-entries"),
    path("api/schema/", api.SchemaView.as_view(), name="api-schema"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]

# AmoCRM's requests get JSON whatever happens to them.
handler400 = "onai_project.errors.bad_request"
handler404 = "onai_project.errors.page_not_found"
handler500 = "onai_project.errors.server_error"
