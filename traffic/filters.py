"""What the Traffic Dashboard is filtered by, and as whom somebody looks at it: values, and their SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Exists, OuterRef, Q, QuerySet

from notifications.models import TelegramChat
from onai_project.filters import value_from_query
from traffic.models import Sale, SalesNotification, Targetologist

UNKNOWN = "unknown"
REFERRAL = "referral"
# What the breakdown can be by, and the column of each.
DIMENSIONS = {
    "campaign": "utm_campaign",
    "source": "utm_source",
    "medium": "utm_medium",
    "funnel": "funnel_type",
}
# A longer search finds nothing that a shorter one would not.
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Filters:
    """Each None (`text`: "") where it does not filter; "" is a sale that lacks it. All hold together.

    `line` is a targetologist's slug, "unknown" or "referral". `text` is looked for in campaign, source and medium,
    whatever the case.
    """

    line: str | None = None
    campaign: str | None = None
    source: str | None = None
    medium: str | None = None
    funnel: str | None = None
    text: str = ""

    @property
    def of_line_alone(self) -> bool:
        """Whether nothing is filtered but whose the sales are."""
        return not self.text and all(getattr(self, name) is None for name in DIMENSIONS)


NO_FILTERS = Filters()


def filters_from_query(query: Mapping[str, str]) -> Filters:
    """Return the filters that a URL asks for."""
    return Filters(
        line=value_from_query(query, "targetologist", none=[""]),
        **{name: value_from_query(query, name) for name in DIMENSIONS},
        text=(value_from_query(query, "q") or "").strip()[:MAX_TEXT],
    )


def visible_slugs(user: User | AnonymousUser) -> list[str] | None:
    """Return whose sales somebody may see: None is everybody's, with `traffic.view_all_sales`; else their own."""
    if user.has_perm("traffic.view_all_sales"):
        return None
    if not isinstance(user, User):
        return []
    return list(Targetologist.objects.filter(user=user).values_list("slug", flat=True))


def sales_visible_to(user: User | AnonymousUser) -> QuerySet[Sale]:
    """Return the sales that somebody may see."""
    return own_rows(Sale.objects.all(), user)


def notifications_visible_to(user: User | AnonymousUser) -> QuerySet[SalesNotification]:
    """Return the messages about the sales that somebody may see, and those to their own chat.

    A sale may have become another's since a message was written: whose it is now counts.
    """
    messages = SalesNotification.objects.all()
    if user.has_perm("traffic.view_all_sales"):
        return messages
    own_chat = Q(chat__kind=TelegramChat.Kind.TARGETOLOGIST, chat__in=_own_chats(user))
    return messages.filter(Exists(sales_visible_to(user).filter(lead_id=OuterRef("lead_id"))) | own_chat)


def own_rows(rows: QuerySet[Any], user: User | AnonymousUser) -> QuerySet[Any]:
    """Return those rows of a table with a `targetologist` that somebody may see."""
    if user.has_perm("traffic.view_all_sales"):
        return rows
    return rows.filter(targetologist__user=user) if isinstance(user, User) else rows.none()


def _own_chats(user: User | AnonymousUser) -> QuerySet[Targetologist, int | None]:
    people = Targetologist.objects.filter(user=user) if isinstance(user, User) else Targetologist.objects.none()
    return people.exclude(chat=None).values_list("chat", flat=True)


def condition(filters: Filters, slugs: list[str] | None) -> tuple[str, dict[str, Any]]:
    """Return SQL (and its parameters) that holds for the rows of these filters: of `all_sales_tracking` or the sums.

    Both have the same columns. `slugs` is what `visible_slugs` returned.
    """
    parts, values = ["TRUE"], {"slugs": slugs, "line": filters.line, "text": _pattern(filters.text)}
    if slugs is not None:
        parts.append("targetologist = ANY(%(slugs)s::text[])")
    if filters.line == REFERRAL:
        parts.append("channel = 'referral'")
    elif filters.line == UNKNOWN:
        parts.append("channel <> 'referral' AND targetologist IS NULL")
    elif filters.line is not None:
        parts.append("channel <> 'referral' AND targetologist = %(line)s")
    for name, column in DIMENSIONS.items():
        value = getattr(filters, name)
        if value is not None:
            parts.append(f"{column} = %({name})s")
            values[name] = value
    if filters.text:
        # What ILIKE does, with the pattern lowered once and not for each row; and all three at once, which takes half
        # the time of one after the other. What stands between them is in no campaign's name.
        parts.append(r"lower(utm_campaign || E'\x1F' || utm_source || E'\x1F' || utm_medium) LIKE lower(%(text)s)")
    return " AND ".join(parts), values


def _pattern(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
