"""The checks of the intake and of the messages. Other apps add theirs in the same way, in an `alarms` module."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from notifications.alarms import register
from notifications.models import OutboxMessage, TelegramChat
from notifications.outbox import outbox_models
from notifications.telegram import TOKEN_REFUSED
from onai_project.health import HEARTBEAT_SECONDS, OVERDUE_SECONDS, longest_wait_seconds
from onai_project.stored_reasons import reason_text
from webhooks.amocrm import api
from webhooks.models import NO_HOOKS, ApiState, Heartbeat, ReconciliationFinding, WebhookDelivery, WebhookRefusal
from webhooks.reconciliation_models import MISSED_HOOKS

# People sell, and AmoCRM tells, within these hours of every day, Almaty time.
OPENS, CLOSES = time(9), time(21)
REFUSALS_SINCE = timedelta(hours=1)
MESSAGES_SINCE = timedelta(days=1)
WAITING_TOO_LONG = timedelta(minutes=10)
# AmoCRM's short outages are waited out by themselves; a token or a bill is not.
AWAY_TOO_LONG = timedelta(minutes=10)
AT_ONCE = (ApiState.Trouble.TOKEN, ApiState.Trouble.UNPAID)
# Missed hooks are told of for a day after they were found; those of a backfill, of older events, are history.
FOUND_SINCE = timedelta(days=1)
MISSED_SINCE = timedelta(days=3)


@register("silence", gettext_lazy("Deliveries arrive"))
def silence() -> str:
    """Say so when nothing came for SILENCE_HOURS of business time. Before the first delivery all is well."""
    if not settings.SILENCE_HOURS:
        return ""
    rows = WebhookDelivery.objects.exclude(source__in=NO_HOOKS).order_by("-pk")
    last = rows.values_list("received_at", flat=True).first()
    if last is None or business_time(last, datetime.now(UTC)) < timedelta(hours=settings.SILENCE_HOURS):
        return ""
    when = timezone.localtime(last, timezone.get_default_timezone()).strftime("%d.%m.%Y %H:%M")
    return _(
        "The last delivery from AmoCRM came on %(when)s. Is the hook still there and enabled (AmoCRM, Settings, "
        "Integrations, Webhooks)?"
    ) % {"when": when}


@register("refused", gettext_lazy("Deliveries are accepted"))
def refused() -> str:
    """Say so when requests were refused in this hour or the last: a wrong secret in AmoCRM looks like this."""
    since = (datetime.now(UTC) - REFUSALS_SINCE).replace(minute=0, second=0, microsecond=0)
    recent = list(WebhookRefusal.objects.filter(hour__gte=since).values_list("count", flat=True))
    if not recent:
        return ""
    return ngettext(
        "%(count)d request was refused lately. Compare the URL of the hook in AmoCRM with AMOCRM_WEBHOOK_SECRETS.",
        "%(count)d requests were refused lately. Compare the URL of the hook in AmoCRM with AMOCRM_WEBHOOK_SECRETS.",
        sum(recent),
    ) % {"count": sum(recent)}


@register("queue", gettext_lazy("The queue moves"))
def queue() -> str:
    """Say so when a delivery has been due for over a minute, or a worker dies again and again before it is through."""
    waiting = longest_wait_seconds()
    if waiting < OVERDUE_SECONDS:
        return ""
    return _(
        "A delivery has been waiting for %(minutes)d min. Is the worker running, does it start again and again, has it "
        "too much to do?"
    ) % {"minutes": waiting // 60}


@register("worker", gettext_lazy("The worker is alive"))
def worker() -> str:
    """Say so when no worker was seen lately. A worker that is gone can't tell it: another one, or a monitor, does."""
    seen = Heartbeat.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
    if seen is not None and datetime.now(UTC) - seen < timedelta(seconds=HEARTBEAT_SECONDS):
        return ""
    return _("No worker has been seen lately: deliveries are stored, and wait. Start it: manage.py worker")


@register("dead", gettext_lazy("No dead deliveries"), anew=True)
def dead() -> str:
    """Say so as long as there are deliveries that were tried too often."""
    count = WebhookDelivery.objects.filter(status=WebhookDelivery.Status.DEAD).count()
    if not count:
        return ""
    return ngettext(
        "%(count)d delivery was tried too often. Mend what its error says, then choose “Process again” in Deliveries.",
        "%(count)d deliveries were tried too often. Mend what their errors say, then choose “Process again” in "
        "Deliveries.",
        count,
    ) % {"count": count}


@register("messages", gettext_lazy("Messages are sent"))
def messages() -> str:
    """Say so when messages of the last day failed, or wait for long. A refused chat is told of by `chats`."""
    now = datetime.now(UTC)
    status = OutboxMessage.Status
    refused_chats = list(_refused_chats().values_list("disabled_reason", flat=True))
    failed = waiting = 0
    for model in outbox_models():
        recent = model._default_manager.filter(created_at__gte=now - MESSAGES_SINCE)
        failed += recent.filter(notification_status=status.FAILED).exclude(error__in=refused_chats).count()
        waiting += recent.filter(notification_status=status.PENDING, created_at__lt=now - WAITING_TOO_LONG).count()
    if not failed and not waiting:
        return ""
    return _(
        "Of the last day's messages, %(failed)d failed and %(waiting)d have been waiting for over ten minutes. Their "
        "errors say why."
    ) % {"failed": failed, "waiting": waiting}


@register("token", gettext_lazy("Telegram takes the bot's token"))
def token() -> str:
    """Say so as long as a message waits because Telegram refused the token when it was tried last."""
    for model in outbox_models():
        waiting = model._default_manager.filter(notification_status=OutboxMessage.Status.PENDING)
        if waiting.filter(error=TOKEN_REFUSED).exists():
            return _(
                "Telegram refuses the bot's token: nothing is sent, everything waits. Set TELEGRAM_BOT_TOKEN to the "
                "one that @BotFather shows, then restart the worker."
            )
    return ""


# Administrators are told of each chat by itself, when it happens (notifications/chats.py).
@register("chats", gettext_lazy("Chats can be written to"), told=False)
def chats() -> str:
    """Say so as long as Telegram refuses a chat."""
    names = [str(chat) for chat in _refused_chats().order_by("pk")]
    if not names:
        return ""
    return _(
        "Telegram refuses: %(chats)s. Add the bot to the chat again, then press “Send a test” in Telegram chats."
    ) % {"chats": ", ".join(names)}


def _refused_chats() -> QuerySet[TelegramChat]:
    refused = TelegramChat.objects.filter(active=False).exclude(disabled_reason="")
    return refused.exclude(kind=TelegramChat.Kind.REFERRER)


@register("hook", gettext_lazy("The hook is there"))
def hook() -> str:
    """Say so when AmoCRM's hook to this site was found gone, disabled or wrong at the last look."""
    state = ApiState.objects.exclude(hook_problem="").first() if api.configured() else None
    if state is None:
        return ""
    return _(
        "The hook in AmoCRM is not as it should be: %(problem)s. Run manage.py amocrm_webhooks install, or mend it in "
        "AmoCRM by hand (README)."
    ) % {"problem": reason_text(state.hook_problem)}


@register("amocrm_api", gettext_lazy("AmoCRM answers"))
def amocrm_api() -> str:
    """Say so at once when the token is refused or the account unpaid, and when AmoCRM has been away for long."""
    state = ApiState.objects.exclude(trouble="").exclude(failed_since=None).first() if api.configured() else None
    if state is None or state.failed_since is None:
        return ""
    if state.trouble not in AT_ONCE and datetime.now(UTC) - state.failed_since < AWAY_TOO_LONG:
        return ""
    if state.trouble == ApiState.Trouble.TOKEN:
        return _("AmoCRM refuses the token. Make a new one in the integration and set AMOCRM_ACCESS_TOKEN.")
    return _("AmoCRM's API cannot be asked: %(trouble)s (%(detail)s).") % {
        "trouble": state.get_trouble_display(),
        "detail": state.detail,
    }


@register("missed", gettext_lazy("No hook is missed"))
def missed() -> str:
    """Say so for a day after reconciliation found that hooks of late never came."""
    now = datetime.now(UTC)
    count = ReconciliationFinding.objects.filter(
        kind__in=MISSED_HOOKS, found_at__gte=now - FOUND_SINCE, at__gte=now - MISSED_SINCE
    ).count()
    if not count:
        return ""
    return ngettext(
        "%(count)d hook of AmoCRM never came; the deal was corrected by AmoCRM's own record. See Missed and different.",
        "%(count)d hooks of AmoCRM never came; the deals were corrected by AmoCRM's own record. See Missed and "
        "different.",
        count,
    ) % {"count": count}


def business_time(since: datetime, until: datetime) -> timedelta:
    """Return how much of the time between two moments lies within business hours."""
    zone = timezone.get_default_timezone()
    day, last = since.astimezone(zone).date(), until.astimezone(zone).date()
    if (last - day).days > 60:
        return timedelta(days=30)
    total = timedelta()
    while day <= last:
        opens, closes = (datetime.combine(day, at, zone) for at in (OPENS, CLOSES))
        total += max(timedelta(), min(until, closes) - max(since, opens))
        day += timedelta(days=1)
    return total
