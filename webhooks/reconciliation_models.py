"""What was compared with AmoCRM, up to where, and what came out of it."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Reconciliation(models.Model):
    """One comparison of a stretch of time. Unfinished, it goes on from `done_until`."""

    since = models.DateTimeField(_("from"))
    until = models.DateTimeField(_("to"))
    done_until = models.DateTimeField(_("done up to"))
    is_periodic = models.BooleanField(_("by the clock"), default=False)
    deals = models.PositiveIntegerField(_("deals compared"), default=0)
    entered = models.PositiveIntegerField(
        _("deals corrected"), default=0, help_text=_("AmoCRM's answer about them was put into the inbox.")
    )
    missed = models.PositiveIntegerField(_("hooks missed"), default=0)
    error = models.TextField(_("error"), blank=True, default="")
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        db_table = "amocrm_reconciliations"
        verbose_name = _("reconciliation")
        verbose_name_plural = _("reconciliations")
        constraints = [
            models.CheckConstraint(
                condition=Q(since__lte=F("done_until"), done_until__lte=F("until")), name="reconciliation_times"
            ),
            # The clock goes on with what it began.
            models.UniqueConstraint(
                fields=["is_periodic"], condition=Q(is_periodic=True, ended_at=None), name="reconciliation_one_by_clock"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class ReconciliationFinding(models.Model):
    """Something that AmoCRM knew and we did not. Found again by another comparison, it stays one row."""

    class Kind(models.TextChoices):
        WON = "won", _("Missed hook: won")
        UNWON = "unwon", _("Missed hook: no longer won")
        ADDED = "added", _("Missed hook: created won")
        DELETED = "deleted", _("Missed hook: deleted")
        RESTORED = "restored", _("Missed hook: restored")
        DIFFERS = "differs", _("Other values in AmoCRM")
        GONE = "gone", _("Not in AmoCRM any more")

    run = models.ForeignKey(
        Reconciliation, on_delete=models.PROTECT, related_name="findings", verbose_name=_("reconciliation")
    )
    lead_id = models.BigIntegerField(_("deal"))
    kind = models.CharField(_("finding"), max_length=8, choices=Kind)
    at = models.DateTimeField(_("when it was in AmoCRM"))
    fields = models.TextField(_("what was different here"), blank=True, default="")
    found_at = models.DateTimeField(_("found at"), db_default=Now())

    class Meta:
        db_table = "amocrm_findings"
        verbose_name = _("finding of a reconciliation")
        verbose_name_plural = _("findings of reconciliations")
        constraints = [models.UniqueConstraint(fields=["lead_id", "kind", "at"], name="finding_once")]
        indexes = [models.Index("found_at", name="finding_found")]  # the alarm: what was found lately

    def __str__(self) -> str:
        return f"{self.lead_id}: {self.get_kind_display()}"


# Findings that say that a hook never came.
MISSED_HOOKS = tuple(
    kind
    for kind in ReconciliationFinding.Kind.values
    if kind not in (ReconciliationFinding.Kind.DIFFERS, ReconciliationFinding.Kind.GONE)
)
