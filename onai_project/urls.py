"""All addresses: the webhook's doors (contributed by the apps), the admin site with its dashboards, health."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from onai_project import api, health, home, state
from referrals import api as referral_api
from referrals import views as referrals
from traffic import api as traffic_api
from traffic import views as traffic
from traffic.rules import views as rules
from traffic.unattributed import views as unattributed

urlpatterns = [
    path("webhook/", include("webhooks.urls")),
    path("r/", include("referrals.cabinet.urls")),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready),
    path("metrics", health.metrics),
    # Before the admin's own catch-all; admin_view asks for a login and staff status.
    path("admin/traffic/dashboard/", admin.site.admin_view(traffic.dashboard), name="traffic-dashboard"),
    path("admin/traffic/dashboard/sales/", admin.site.admin_view(traffic.sales), name="traffic-dashboard-sales"),
    path(
        "admin/traffic/dashboard/sales.<str:ending>",
        admin.site.admin_view(traffic.sales_file),
        name="traffic-dashboard-sales-file",
    ),
    path(
        "admin/traffic/dashboard/all.xlsx", admin.site.admin_view(traffic.dashboard_xlsx), name="traffic-dashboard-xlsx"
    ),
    path(
        "admin/traffic/dashboard/<slug:table>.csv",
        admin.site.admin_view(traffic.dashboard_csv),
        name="traffic-dashboard-csv",
    ),
    path("admin/traffic/tester/", admin.site.admin_view(rules.tester), name="traffic-tester"),
    path("admin/traffic/unattributed/", admin.site.admin_view(unattributed.queue), name="traffic-unattributed"),
    path(
        "admin/traffic/unattributed/group/",
        admin.site.admin_view(unattributed.group),
        name="traffic-unattributed-group",
    ),
    path("admin/referrals/dashboard/", admin.site.admin_view(referrals.dashboard), name="referral-dashboard"),
    path("admin/referrals/dashboard/", include("referrals.urls")),
    path("admin/state/", admin.site.admin_view(state.system_state), name="system-state"),
    path("admin/api/", admin.site.admin_view(api.api_access), name="api-access"),
    path("api/traffic/dashboard/", traffic_api.DashboardView.as_view(), name="api-traffic-dashboard"),
    path("api/traffic/sales/", traffic_api.SalesView.as_view(), name="api-traffic-sales"),
    path("api/referrals/dashboard/", referral_api.DashboardView.as_view(), name="api-referral-dashboard"),
    path("api/referrals/entries/", referral_api.EntriesView.as_view(), name="api-referral-entries"),
    path("api/schema/", api.SchemaView.as_view(), name="api-schema"),
    path("admin/", admin.site.admin_view(home.start)),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]

# AmoCRM's requests get JSON whatever happens to them.
handler400 = "onai_project.errors.bad_request"
handler404 = "onai_project.errors.page_not_found"
handler500 = "onai_project.errors.server_error"
