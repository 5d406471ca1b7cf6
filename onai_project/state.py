"""The admin page "System state": every check now, and the alarms of late."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from notifications import alarms
from notifications.models import Alarm
from webhooks.amocrm import api

SHOWN = 20


def system_state(request: HttpRequest) -> HttpResponse:
    """Run the checks and show what each found, since when it stands, and what ended lately."""
    if not request.user.has_perm("notifications.view_alarm"):
        raise PermissionDenied
    findings = alarms.look()
    since = dict(Alarm.objects.filter(ended_at=None).values_list("name", "started_at"))
    context = {
        **admin.site.each_context(request),
        "title": _("System state"),
        "checks": [(finding, since.get(finding.check.name)) for finding in findings],
        "asks_amocrm": api.configured(),
        "wrong": sum(bool(finding.problem) for finding in findings),
        "ended": [
            (alarms.title(alarm.name), alarm) for alarm in Alarm.objects.exclude(ended_at=None).order_by("-pk")[:SHOWN]
        ],
    }
    return TemplateResponse(request, "onai_project/state.html", context)
