"""What was decided about whose sales they are: by the rules, by people, by re-attributions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class RuleVersion(models.Model):
    """The active rules and the funnels as they were when sales were attributed by them. Written once, never changed.

    `rules` and `funnels` are lists of the fields of traffic.attribution.Rule and Funnel, in the order of trying.
    """

    digest = models.CharField(max_length=64, unique=True)
    rules = models.JSONField()
    funnels = models.JSONField()
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "attribution_rule_versions"
        verbose_name = _("version of the rules")
        verbose_name_plural = _("versions of the rules")

    def __str__(self) -> str:
        return f"№ {self.pk}"


class SaleAttribution(models.Model):
    """What the rules decided about a deal's UTM: for these very values, under that version of the rules.

    It outlives the sale's row, so a sale made anew from its deal is attributed as it was. It changes when the deal's
    UTM does, or by a re-attribution. `version` is NULL for what was decided before versions were kept.
    """

    lead_id = models.BigIntegerField(_("deal"), primary_key=True)
    utm_source = models.TextField(blank=True, default="")
    utm_medium = models.TextField(blank=True, default="")
    utm_campaign = models.TextField(blank=True, default="")
    utm_content = models.TextField(blank=True, default="")
    utm_term = models.TextField(blank=True, default="")
    # No index on what they refer to: only who deletes a rule would use it, and every decision would pay for it.
    channel = models.CharField(max_length=13)
    targetologist = models.ForeignKey(
        "traffic.Targetologist", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    matched_rule = models.ForeignKey(
        "traffic.AttributionRule", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    matched_field = models.CharField(max_length=12, blank=True, default="")
    matched_text = models.CharField(max_length=200, blank=True, default="")
    funnel_type = models.CharField(max_length=20)
    version = models.ForeignKey(RuleVersion, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    run = models.ForeignKey(
        "traffic.ReattributionRun", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    decided_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sale_attributions"
        verbose_name = _("attribution")
        verbose_name_plural = _("attributions")

    def __str__(self) -> str:
        return f"{self.lead_id} {self.targetologist_id or self.channel}"


class SaleOverride(models.Model):
    """A person's word about whose sale it is. Append-only: the latest one of a deal counts, above all rules."""

    class Action(models.TextChoices):
        ASSIGN = "assign", _("is this targetologist's")
        NOBODY = "nobody", _("is nobody's")
        RELEASE = "release", _("back to the rules")

    lead_id = models.BigIntegerField(_("deal"))
    action = models.CharField(_("decision"), max_length=7, choices=Action)
    targetologist = models.ForeignKey(
        "traffic.Targetologist",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("targetologist"),
    )
    reason = models.TextField(_("reason"))
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("author")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "sale_overrides"
        verbose_name = _("manual decision")
        verbose_name_plural = _("manual decisions")
        indexes = [models.Index(fields=["lead_id", "-id"], name="override_latest")]  # what counts for a deal
        constraints = [
            models.CheckConstraint(
                condition=Q(action="assign", targetologist__isnull=False)
                | (~Q(action="assign") & Q(targetologist__isnull=True)),
                name="override_assigns_somebody",
            ),
            models.CheckConstraint(condition=Q(reason__regex=r"\S"), name="override_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.lead_id}: {self.get_action_display()}"


class ReattributionRun(models.Model):
    """One time that the rules were applied to old sales: which, by whom, what moved."""

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Stopped by an error")
        UNDOING = "undoing", _("Being undone")
        UNDONE = "undone", _("Undone")
        UNDO_FAILED = "undo_failed", _("Undoing failed")

    first_day = models.DateField(_("from"))
    last_day = models.DateField(_("to"))
    version = models.ForeignKey(
        RuleVersion, on_delete=models.PROTECT, related_name="+", verbose_name=_("version of the rules")
    )
    reason = models.TextField(_("reason"), blank=True, default="")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("author")
    )
    state = models.CharField(_("state"), max_length=11, choices=State, default=State.WAITING)
    total = models.PositiveIntegerField(_("to look at"), default=0)
    looked_at = models.PositiveIntegerField(_("looked at"), default=0)
    moved = models.PositiveIntegerField(_("changed"), default=0)
    last_lead_id = models.BigIntegerField(_("up to deal"), default=0)
    failures = models.PositiveSmallIntegerField(db_default=0)  # since the last batch that was done
    error = models.TextField(_("error"), blank=True, db_default="")
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    active_at = models.DateTimeField(_("last active"), db_default=Now())
    ended_at = models.DateTimeField(_("ended at"), null=True)
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("undone by")
    )

    class Meta:
        db_table = "reattribution_runs"
        verbose_name = _("re-attribution")
        verbose_name_plural = _("re-attributions")

    def __str__(self) -> str:
        return f"№ {self.pk}"


class ReattributionMove(models.Model):
    """What a run changed of one sale: the attribution before and after, as lists in the order of decisions.Outcome."""

    run = models.ForeignKey(ReattributionRun, on_delete=models.PROTECT, related_name="moves")
    lead_id = models.BigIntegerField(_("deal"))
    sale_amount = models.DecimalField(_("amount"), max_digits=14, decimal_places=0, null=True)
    won = models.BooleanField(help_text=_("A sale taken back moves as well, and no money with it."))
    before = models.JSONField()
    after = models.JSONField()
    # NULL: stands; True: taken back; False: was to be taken back, but the sale has been changed since.
    undone = models.BooleanField(null=True)

    class Meta:
        db_table = "reattribution_moves"
        verbose_name = _("move")
        verbose_name_plural = _("moves")
        constraints = [models.UniqueConstraint(fields=["run", "lead_id"], name="reattribution_move_once")]

    def __str__(self) -> str:
        return f"{self.run_id}: {self.lead_id}"
