"""What belongs to the Referral Dashboard, below its address: the entries behind it, and the files."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from referrals import views

view = admin.site.admin_view
urlpatterns = [
    path("entries/", view(views.entries), name="referral-dashboard-entries"),
    path("entries.csv", view(views.entries_file), {"ending": "csv"}, name="referral-dashboard-entries-csv"),
    path("entries.xlsx", view(views.entries_file), {"ending": "xlsx"}, name="referral-dashboard-entries-xlsx"),
    path("referrals.xlsx", view(views.dashboard_xlsx), name="referral-dashboard-xlsx"),
    path("<slug:table>.csv", view(views.dashboard_csv), name="referral-dashboard-csv"),
]
