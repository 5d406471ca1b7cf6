"""For the admin of an outbox: messages that ended without being sent, sent again by a person's choice."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import get_permission_codename
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action

from notifications.models import OutboxMessage
from notifications.outbox import ENDED, resend_messages

Status = OutboxMessage.Status
# Of several at once only those that certainly did not arrive: nobody looks into ten chats before the click.
NEVER_ARRIVED = (Status.FAILED, Status.CONSOLE)


class ResendMixin:
    """Adds "Send again" to an admin of an outbox, for whoever may change its model. Mix in before ReadOnlyAdmin."""

    actions: Any = ("send_again",)
    actions_detail: Any = ("send_this_again",)

    def has_send_again_permission(self: Any, request: HttpRequest, object_id: Any = None) -> bool:
        """Tell whether somebody may do it, and to this message."""
        codename = get_permission_codename("change", self.opts)
        if not request.user.has_perm(f"{self.opts.app_label}.{codename}"):
            return False
        rows = self.get_queryset(request).filter(notification_status__in=ENDED)
        return object_id is None or rows.filter(pk=object_id).exists()

    @action(description=_("Send again those that failed"), permissions=["send_again"])
    def send_again(self: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Send several again; what may have arrived is not touched."""
        uncertain = queryset.filter(notification_status=Status.UNCERTAIN).count()
        ids = list(queryset.values_list("pk", flat=True))
        _resend(self, request, resend_messages(model=self.model, ids=ids, of=NEVER_ARRIVED))
        if uncertain:
            text = gettext("Those that may have arrived are left: open each, after you have looked into its chat.")
            self.message_user(request, text, messages.WARNING)

    @action(
        description=_("Send again"),
        permissions=["send_again"],
        icon="send",
        dialog={
            "title": _("Send this message again?"),
            "description": _("Look into the chat first if it says “perhaps delivered”: it would stand there twice."),
            "form_class": None,
            "form_submit_text": _("Send again"),
        },
    )
    def send_this_again(self: Any, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Send one again, also one that may have arrived."""
        _resend(self, request, resend_messages(model=self.model, ids=[int(object_id)]))
        return HttpResponse(headers={"HX-Refresh": "true"})


def _resend(admin: Any, request: HttpRequest, count: int) -> None:
    text = ngettext("%(count)d message will be sent again.", "%(count)d messages will be sent again.", count)
    admin.message_user(request, text % {"count": count}, messages.SUCCESS if count else messages.WARNING)
