"""Commission plans: read for the ledger, made and changed by people. Terms never change; other terms are a version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.db import transaction

from referrals.commissions import Plan, plan_for
from referrals.models import CommissionPlan


class PlanReplaced(ValueError):
    """Somebody changed the plan meanwhile: it has a newer version."""


class Audience(Protocol):
    """What of a referrer decides which plan is theirs."""

    @property
    def id(self) -> int:
        """The referrer's key."""
        ...

    @property
    def claimed(self) -> bool:
        """Whether somebody has said whose code it is."""
        ...


_FIELDS = (
    "id", "name", "kind", "value", "valid_from", "valid_to", "cap", "first_sale_only", "group_id", "referrer_id",
    *CommissionPlan.RATES,
)  # fmt: skip


def select_plans() -> dict[int, Plan]:
    """Return all versions of all plans by id, in the order of their beginning."""
    rows = CommissionPlan.objects.order_by("valid_from", "id").values(*_FIELDS)
    return {row["id"]: _plan(row) for row in rows}


def is_first_sale_asked() -> bool:
    """Return whether by any plan only the first sale of a customer earns."""
    return CommissionPlan.objects.filter(first_sale_only=True).exists()


def as_plan(plan: CommissionPlan) -> Plan:
    """Return a plan as the pure code has it."""
    return _plan({name: getattr(plan, name) for name in _FIELDS})


def _plan(row: Mapping[str, Any]) -> Plan:
    return Plan(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        value=row["value"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        rates=() if row["value"] is not None else tuple(row[name] for name in CommissionPlan.RATES),
        cap=row["cap"],
        first_sale_only=row["first_sale_only"],
        group=row["group_id"],
        referrer=row["referrer_id"],
    )


def plan_of(day: date, referrer: Audience, group: int | None, plans: Mapping[int, Plan]) -> Plan | None:
    """Return the plan by which a referrer's sale of a business day earns. An unclaimed code has everyone's."""
    if not referrer.claimed:
        return plan_for(day, plans.values())
    return plan_for(day, plans.values(), referrer=referrer.id, group=group)


def plan_change(*, plan: CommissionPlan, by: User | None, **terms: Any) -> CommissionPlan:
    """Make the next version of a plan with these terms (CommissionPlan.TERMS); return it.

    The old version ends where the new one begins, unless it has ended before; beginning no later, the new one stands
    instead of it, and the old one never held. Conversions keep the version that they have: a recalculation moves them.
    Raises PlanReplaced where somebody was faster, IntegrityError where the new version overlaps another plan.
    """
    with transaction.atomic():
        old = CommissionPlan.objects.select_for_update().get(pk=plan.pk)
        if CommissionPlan.objects.filter(replaces=old).exists():
            raise PlanReplaced("the plan has a newer version")
        values = {name: getattr(old, name) for name in CommissionPlan.TERMS} | {"name": old.name} | terms
        new = CommissionPlan(**values, version=old.version + 1, replaces=old, created_by=by)
        new.valid_to = terms.get("valid_to", old.valid_to)
        end = max(new.valid_from, old.valid_from)
        old.valid_to = end if old.valid_to is None else min(old.valid_to, end)
        old.save(update_fields=["valid_to"])
        new.save()
    return new
