"""Digests: who gets them when, and what was sent."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from notifications.admin import MESSAGE_COLOURS
from notifications.resending import ResendMixin
from onai_project.admin_base import PanelAdmin, ReadOnlyAdmin, choice_label, reason_text
from traffic.digest import digest_text, save_schedule
from traffic.models import Digest, DigestKind, DigestSchedule


@admin.register(DigestSchedule)
class DigestScheduleAdmin(PanelAdmin):
    list_display = ("kind_shown", "chat_shown", "when", "active")
    list_select_related = ("chat",)
    fields = ("kind", "chat", ("at", "weekday"), "active")

    @display(description=_("kind"), ordering="kind")
    def kind_shown(self, schedule: DigestSchedule) -> str:
        return schedule.get_kind_display()

    @display(description=_("chat"))
    def chat_shown(self, schedule: DigestSchedule) -> str:
        return str(schedule.chat or _("Common"))

    @display(description=_("when"))
    def when(self, schedule: DigestSchedule) -> str:
        at = f"{schedule.at:%H:%M}"
        return f"{schedule.get_weekday_display()}, {at}" if schedule.kind == DigestKind.WEEKLY else at

    def save_model(self, request: HttpRequest, obj: DigestSchedule, form: Any, change: bool) -> None:
        """Save; nothing is sent late of the time before it was switched on."""
        save_schedule(schedule=obj)


@admin.register(Digest)
class DigestAdmin(ResendMixin, ReadOnlyAdmin):
    list_display = ("name", "chat_shown", "status_label", "notified_at", "problem")
    list_filter = ("kind", "notification_status")
    list_select_related = ("chat",)
    ordering = ("-id",)
    fields = ("name", "chat_shown", "status_label", "attempts", "created_at", "notified_at", "problem", "text")
    readonly_fields = ("name", "chat_shown", "status_label", "problem", "text")
    status_label = choice_label("notification_status", MESSAGE_COLOURS, _("status"))

    @display(description=_("digest of sales"), ordering="date")
    def name(self, digest: Digest) -> str:
        return str(digest)

    @display(description=_("chat"))
    def chat_shown(self, digest: Digest) -> str:
        return str(digest.chat or _("Common"))

    @display(description=_("error"))
    def problem(self, digest: Digest) -> str:
        return reason_text(digest.error)

    @display(description=_("as of now"))
    def text(self, digest: Digest) -> SafeString:
        # Escaped already: the same HTML goes to Telegram.
        html = SafeString(digest_text(kind=digest.kind, date=digest.date))
        return format_html('<div class="panel-message">{}</div>', html)
