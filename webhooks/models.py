"""What arrived (WebhookDelivery), what it said (WebhookLog), and the state it adds up to (Deal, DealTransition)."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Source(models.TextChoices):
    """Which door a delivery came through. It decides nothing about who is told."""

    TRAFFIC = "amocrm_traffic", _("Traffic endpoint")
    REFERRAL = "amocrm_referral", _("Referral endpoint")
    ACCOUNT = "amocrm", _("Account endpoint")
    API = "amocrm_api", _("AmoCRM API answer")
    IMPORT = "import", _("Imported sales")


# What AmoCRM posted itself: anything else tells nothing of whether its hooks arrive.
NO_HOOKS = (Source.API, Source.IMPORT)


class WebhookDelivery(models.Model):
    """One POST from AmoCRM, stored before it is understood. Rows are never deleted."""

    class Status(models.TextChoices):
        RECEIVED = "received", _("Received")
        PROCESSED = "processed", _("Processed")
        FAILED = "failed", _("Failed, will be tried again")
        DEAD = "dead", _("Dead, tried too often")
        INVALID = "invalid", _("Invalid body")

    id = models.BigAutoField(primary_key=True, verbose_name=_("delivery"))
    received_at = models.DateTimeField(_("received at"), db_default=Now())
    source = models.CharField(_("source"), max_length=16, choices=Source)
    body = models.BinaryField(_("body"), null=True, help_text=_("Empty: dropped after WEBHOOK_BODY_DAYS."))
    content_type = models.CharField(_("content type"), max_length=255, blank=True)
    headers = models.JSONField(_("headers"), default=dict, blank=True)
    query = models.CharField(_("query"), max_length=1000, blank=True, help_text=_("The secret is removed."))
    remote_addr = models.GenericIPAddressField(_("remote address"), null=True, blank=True)
    status = models.CharField(_("status"), max_length=9, choices=Status, db_default=Status.RECEIVED)
    attempts = models.PositiveSmallIntegerField(_("attempts"), db_default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), db_default=Now())
    error_message = models.TextField(_("error"), blank=True, db_default="")
    processed_at = models.DateTimeField(_("processed at"), null=True, blank=True)
    quiet = models.BooleanField(
        _("quiet"), db_default=False, help_text=_("History: whatever it says is told by no message.")
    )

    class Meta:
        db_table = "webhook_deliveries"
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        indexes = [
            # The queue: what the worker claims, and nothing else is in it.
            models.Index(
                "next_attempt_at", "id", name="delivery_pending", condition=Q(status__in=["received", "failed"])
            ),
            # Of it, what was tried before: looked for at every turn, beside however many new ones.
            models.Index(
                "next_attempt_at",
                "id",
                name="delivery_again",
                condition=Q(status__in=["received", "failed"], attempts__gt=0),
            ),
            # The admin's filter by the statuses that need a person.
            models.Index(
                "status", "id", name="delivery_problem", condition=Q(status__in=["failed", "dead", "invalid"])
            ),
            # The admin's and replay's date range; a fraction of a B-tree's cost at each insert.
            BrinIndex("received_at", name="delivery_received_brin"),
            # What retention may drop.
            models.Index(
                "id", name="delivery_droppable", condition=Q(body__isnull=False, status__in=["processed", "invalid"])
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["received", "processed", "failed", "dead", "invalid"]), name="delivery_status"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.source}"


class WebhookRefusal(models.Model):
    """How many requests a door refused in an hour, and why. Nothing else of them is stored."""

    class Reason(models.TextChoices):
        SECRET = "secret", _("Wrong or missing secret")
        TOO_LARGE = "too_large", _("Body too large")

    hour = models.DateTimeField(_("hour"))
    source = models.CharField(_("source"), max_length=16, choices=Source)
    reason = models.CharField(_("reason"), max_length=16, choices=Reason)
    count = models.PositiveIntegerField(_("count"), default=0)

    class Meta:
        db_table = "webhook_refusals"
        verbose_name = _("refused requests")
        verbose_name_plural = _("refused requests")
        constraints = [models.UniqueConstraint(fields=["hour", "source", "reason"], name="refusal_unique")]

    def __str__(self) -> str:
        return f"{self.get_source_display()}, {self.get_reason_display()}: {self.count}"


class Counter(models.Model):
    """A monotone count of what the worker did, for /metrics. Saved every few seconds: a crash forgets the last ones."""

    class Name(models.TextChoices):
        DELIVERIES = "deliveries", _("Deliveries processed")
        SECONDS = "seconds", _("Seconds of processing")

    name = models.CharField(_("name"), max_length=16, choices=Name)
    source = models.CharField(_("source"), max_length=16, choices=Source, blank=True)
    outcome = models.CharField(_("outcome"), max_length=9, choices=WebhookDelivery.Status, blank=True)
    value = models.FloatField(_("value"), default=0)

    class Meta:
        db_table = "webhook_counters"
        verbose_name = _("counter")
        verbose_name_plural = _("counters")
        constraints = [models.UniqueConstraint(fields=["name", "source", "outcome"], name="counter_unique")]

    def __str__(self) -> str:
        parts = (self.get_name_display(), self.get_source_display(), self.get_outcome_display())
        return f"{' · '.join(str(part) for part in parts if part)}: {self.value:g}"


class Heartbeat(models.Model):
    """When a worker last turned its loop. Its age tells whether anybody works."""

    class Name(models.TextChoices):
        INBOX = "inbox", _("Processing of deliveries")

    name = models.CharField(_("name"), max_length=16, choices=Name, primary_key=True)
    seen_at = models.DateTimeField(_("seen at"))

    class Meta:
        db_table = "worker_heartbeats"
        verbose_name = _("heartbeat")
        verbose_name_plural = _("heartbeats")

    def __str__(self) -> str:
        return self.get_name_display()


class WebhookLog(models.Model):
    """What one event of a delivery said and what became of it. A delivery without a deal has one row, too."""

    class Routing(models.TextChoices):
        TRAFFIC = "traffic", _("Traffic")
        REFERRAL = "referral", _("Referrals")
        BOTH = "both", _("Traffic and referrals")
        UNKNOWN = "unknown", _("Won, but nobody's")
        IGNORED = "ignored", _("Ignored")

    class Processing(models.TextChoices):
        SUCCESS = "success", _("Success")
        IGNORED = "ignored", _("Ignored")
        ERROR = "error", _("Error")
        PARTIAL = "partial", _("Partial")

    id = models.BigAutoField(primary_key=True)
    received_at = models.DateTimeField(_("received at"))
    source = models.CharField(_("source"), max_length=16, choices=Source)
    delivery = models.ForeignKey(
        WebhookDelivery, on_delete=models.PROTECT, related_name="logs", db_index=False, verbose_name=_("delivery")
    )
    index = models.PositiveIntegerField(_("index"))
    action = models.CharField(_("action"), max_length=64, blank=True)
    lead_id = models.BigIntegerField(_("deal"), null=True, blank=True)
    pipeline_id = models.BigIntegerField(_("pipeline"), null=True, blank=True)
    status_id = models.BigIntegerField(_("stage"), null=True, blank=True)
    deal_data = models.JSONField(_("deal data"), default=dict, blank=True)
    utm_source = models.TextField(_("utm_source"), blank=True)
    utm_campaign = models.TextField(_("utm_campaign"), blank=True)
    routing_decision = models.CharField(_("decision"), max_length=8, choices=Routing)
    processing_status = models.CharField(_("result"), max_length=7, choices=Processing)
    error_message = models.TextField(_("reason"), blank=True)
    processed_at = models.DateTimeField(_("processed at"))

    class Meta:
        db_table = "webhook_logs"
        verbose_name = _("webhook log entry")
        verbose_name_plural = _("webhook log")
        constraints = [
            # Replay updates the row it wrote before.
            models.UniqueConstraint(fields=["delivery", "index"], name="log_delivery_index"),
        ]
        indexes = [
            models.Index("lead_id", name="log_lead", condition=Q(lead_id__isnull=False)),  # search by deal
            models.Index("received_at", name="log_received"),  # "the latest ten", date filter
            models.Index(  # what went wrong
                "processing_status", "id", name="log_problem", condition=Q(processing_status__in=["error", "partial"])
            ),
            models.Index(  # the rare decisions, found without reading the many
                "routing_decision", "id", name="log_decision", condition=~Q(routing_decision="ignored")
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.delivery_id}/{self.index} {self.action}"


class Deal(models.Model):
    """The latest known state of one AmoCRM deal: the join of all that was ever said of it (webhooks/merge.py)."""

    lead_id = models.BigIntegerField(_("deal"), primary_key=True)
    name = models.TextField(_("name"), blank=True, db_default="")
    price = models.DecimalField(_("price"), max_digits=14, decimal_places=0, null=True, blank=True)
    status_id = models.BigIntegerField(_("stage"), null=True, blank=True)
    pipeline_id = models.BigIntegerField(_("pipeline"), null=True, blank=True)
    utm_source = models.TextField(_("utm_source"), blank=True, db_default="")
    utm_medium = models.TextField(_("utm_medium"), blank=True, db_default="")
    utm_campaign = models.TextField(_("utm_campaign"), blank=True, db_default="")
    utm_content = models.TextField(_("utm_content"), blank=True, db_default="")
    utm_term = models.TextField(_("utm_term"), blank=True, db_default="")
    utm_referrer = models.TextField(_("utm_referrer"), blank=True, db_default="")
    fbclid = models.TextField(_("fbclid"), blank=True, db_default="")
    contact_id = models.BigIntegerField(_("contact"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)
    won_at = models.DateTimeField(_("won at"), null=True, blank=True)
    wins = models.JSONField(
        _("standing wins"),
        db_default={},
        blank=True,
        help_text=_("Pipeline → moment of the win that stands (unix microseconds), and its number in the row of wins."),
    )
    past_wins = models.JSONField(
        _("wins taken back"),
        db_default={},
        blank=True,
        help_text=_(
            "Pipeline → the last win that no longer stands: its moment and number, and when it was taken back."
        ),
    )
    is_deleted = models.BooleanField(_("deleted"), db_default=False)
    needs_check = models.BooleanField(
        _("needs a check"),
        db_default=False,
        help_text=_("Rests on an event without a time or on a tie; the AmoCRM API settles it."),
    )
    merge = models.JSONField(_("merge state"), db_default={}, blank=True)
    updated_at = models.DateTimeField(_("updated at"), db_default=Now())

    class Meta:
        db_table = "deals"
        verbose_name = _("deal")
        verbose_name_plural = _("deals")
        indexes = [
            models.Index("lead_id", name="deal_needs_check", condition=Q(needs_check=True)),  # what to ask the API
            models.Index(  # the same: wins whose date no answer has told
                "lead_id", name="deal_unclosed", condition=Q(won_at__isnull=False, closed_at=None, is_deleted=False)
            ),
            models.Index("contact_id", name="deal_contact", condition=Q(contact_id__isnull=False)),  # forget_contact
            models.Index("won_at", name="deal_won", condition=Q(won_at__isnull=False)),  # what reconciliation compares
        ]

    def __str__(self) -> str:
        return f"{self.lead_id} {self.name}".strip()


class DealTransition(models.Model):
    """At this moment the deal stood in this stage, so an event said. Never purged: wins are dated from here."""

    id = models.BigAutoField(primary_key=True)
    lead_id = models.BigIntegerField(_("deal"))
    at = models.DateTimeField(_("at"), help_text=_("CRM time; the time of arrival where the event had none."))
    timed = models.BooleanField(_("timed"))
    rank = models.SmallIntegerField(_("rank"))
    status_id = models.BigIntegerField(_("stage"))
    pipeline_id = models.BigIntegerField(_("pipeline"), null=True, blank=True)
    delivery = models.ForeignKey(
        WebhookDelivery,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
        verbose_name=_("delivery"),
    )
    index = models.PositiveIntegerField(_("index"))
    seen_at = models.DateTimeField(_("seen at"), help_text=_("When it was first said (by the API: last said)."))

    class Meta:
        db_table = "deal_transitions"
        verbose_name = _("stage of a deal")
        verbose_name_plural = _("stages of deals")
        constraints = [
            models.UniqueConstraint(
                fields=["lead_id", "at", "timed", "rank", "status_id", "pipeline_id"],
                name="transition_unique",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.lead_id} {self.status_id} {self.at:%Y-%m-%d %H:%M:%S}"


class ApiState(models.Model):
    """The one row that says whether the AmoCRM API may be asked now, for every process, and how the hook was found."""

    class Trouble(models.TextChoices):
        TOKEN = "token", _("The access token is refused")
        UNPAID = "unpaid", _("The account is not paid for")
        BLOCKED = "blocked", _("The account or our address is blocked")
        TOO_MANY = "too_many", _("Too many requests")
        AWAY = "away", _("AmoCRM does not answer as it should")

    ONLY = 1

    id = models.SmallIntegerField(primary_key=True, default=ONLY)
    trouble = models.CharField(_("trouble"), max_length=8, choices=Trouble, blank=True, default="")
    detail = models.TextField(_("detail"), blank=True, default="")
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    failed_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    hook_checked_at = models.DateTimeField(_("hook checked at"), null=True, blank=True)
    hook_problem = models.TextField(_("what is wrong with the hook"), blank=True, default="")

    class Meta:
        db_table = "amocrm_api"
        verbose_name = _("AmoCRM API")
        verbose_name_plural = _("AmoCRM API")
        constraints = [models.CheckConstraint(condition=Q(id=1), name="api_state_only_one")]

    def __str__(self) -> str:
        return self.get_trouble_display() if self.trouble else str(_("AmoCRM API"))


class ApiQuestion(models.Model):
    """What AmoCRM is to be asked about, or was: a deal that lacks something, the contact of a won one."""

    class Kind(models.TextChoices):
        DEAL = "deal", _("Deal")
        CONTACT = "contact", _("Contact")

    kind = models.CharField(_("about"), max_length=7, choices=Kind)
    object_id = models.BigIntegerField(_("number in AmoCRM"))
    due_at = models.DateTimeField(
        _("due at"), null=True, blank=True, help_text=_("Empty: answered, or asked often enough.")
    )
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    error = models.TextField(_("error"), blank=True, default="")

    class Meta:
        db_table = "amocrm_questions"
        verbose_name = _("question to AmoCRM")
        verbose_name_plural = _("questions to AmoCRM")
        constraints = [models.UniqueConstraint(fields=["kind", "object_id"], name="question_unique")]
        indexes = [
            # What is asked next.
            models.Index("kind", "attempts", "due_at", name="question_due", condition=Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.object_id}"


class Contact(models.Model):
    """The customer of a won deal, as AmoCRM has them. A forgotten one stays as a number, and is not asked for."""

    contact_id = models.BigIntegerField(_("contact"), primary_key=True)
    name = models.TextField(_("name"), blank=True, default="")
    phone = models.TextField(_("phone"), blank=True, default="")
    email = models.TextField(_("e-mail"), blank=True, default="")
    fetched_at = models.DateTimeField(_("fetched at"), db_default=Now())
    forgotten_at = models.DateTimeField(_("forgotten at"), null=True, blank=True)

    class Meta:
        db_table = "contacts"
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        constraints = [
            models.CheckConstraint(
                condition=Q(forgotten_at=None) | Q(name="", phone="", email=""), name="contact_forgotten_is_empty"
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.contact_id)


# Here, so that Django finds them; in a file of their own, because this one is long enough.
from webhooks.reconciliation_models import Reconciliation as Reconciliation  # noqa: E402
from webhooks.reconciliation_models import ReconciliationFinding as ReconciliationFinding  # noqa: E402
