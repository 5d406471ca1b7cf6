"""What the admin pages of all apps share: read-only history, lists without COUNT(*), a filter by business days."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.contrib.admin import ShowFacets
from django.core.exceptions import ValidationError
from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import localtime
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.decorators import display
from unfold.views import ChangeList

from onai_project.links import deal_url
from onai_project.money import money as money
from onai_project.periods import day_start, parse_day, zone
from onai_project.stored_reasons import reason_text as reason_text

EMPTY = "—"


class PanelAdmin(ModelAdmin):
    """A list named by what is in it: "select X to change" declines names wrongly in Russian."""

    empty_value_display = EMPTY
    # A row takes two milliseconds to draw, and nobody reads a hundred of them.
    list_per_page = 50

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list."""
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})


class ReadOnlyAdmin(PanelAdmin):
    """History: anybody with the view permission may look, nobody may write."""

    list_filter_submit = True

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Nobody adds to history."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes from it."""
        return False


class UncountedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of a table too long to count: one row more than the page holds is read to know if there is a next one."""

    template_name = "onai_project/pagination.html"
    # The admin wants a number; any that no page reaches will do.
    count = 10**9
    has_next = False

    def page(self, number: int | str) -> Page[Any]:
        """Return the page, which may be empty."""
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        rows = list(self.object_list[start : start + self.per_page + 1])
        self.has_next = len(rows) > self.per_page
        return Page(rows[: self.per_page], number, self)


class UncountedChangeList(ChangeList):
    """Says nothing of how many rows there are, for nobody counted."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        super().get_results(request)
        self.full_result_count = self.result_count


class UncountedAdmin(ReadOnlyAdmin):
    """History that grows with every delivery."""

    paginator = UncountedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    # "Select all 1 000 000 000" would be a lie.
    list_disable_select_all = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list without a count."""
        return UncountedChangeList


def lead_number(text: str) -> int | None:
    """Return what somebody typed as a number that the database knows (bigint), or None."""
    text = text.strip().removeprefix("#")
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number < 2**63 else None


class DealSearch:
    """Search of a list of deals: a number is a deal's, found by the index on it; everything else is a text."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by `lead_id` exactly, without a cast, or by the list's `search_fields`."""
        number = lead_number(search_term)
        if number is not None:
            return queryset.filter(lead_id=number), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(  # type: ignore[misc]
            request, queryset, search_term
        )
        return found


class DayRangeFilter(RangeDateFilter):
    """Rows of a DateTimeField from one business day to another, both included whole."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of those days; a day that can't be read is no bound, and the filter's form says so."""
        first, last = (self._day(f"{self.parameter_name}_{end}") for end in ("from", "to"))
        if first:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": day_start(first)})
        if last:
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": day_start(last + timedelta(days=1))})
        return queryset

    def _day(self, parameter: str) -> Any:
        try:
            day = parse_day(str(self.used_parameters.get(parameter) or ""))
        except ValidationError:
            return None
        return day if day and 1970 <= day.year < 9999 else None


def choice_label(field: str, colours: dict[str, str], description: Any) -> Callable[[Any, Any], SafeString]:
    """Return a column that shows a choice as a coloured label (see `label`)."""

    def show(self: Any, obj: Any) -> SafeString:
        return label(getattr(obj, f"get_{field}_display")(), colours.get(getattr(obj, field), ""))

    column: Callable[[Any, Any], SafeString] = display(show, description=description, ordering=field)
    return column


@lru_cache(maxsize=1024)
def label(text: str, colour: str) -> SafeString:
    """Return a coloured label: success, info, warning, danger, primary or "". Kept: a list has the same few in each
    row, and rendering one takes a quarter of a millisecond."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour})


def moment(value: datetime | None) -> str:
    """Return a time to the second, in the zone of the business day."""
    return date_format(localtime(value, zone()), "d.m.Y H:i:s") if value else EMPTY


def deal_link(lead_id: int | None) -> SafeString | str:
    """Return a link to the deal in AmoCRM."""
    if lead_id is None:
        return EMPTY
    return format_html(
        '<a href="{}" target="_blank" rel="noopener" class="panel-link">{} ↗</a>', deal_url(lead_id), lead_id
    )


def list_link(view: str, query: str, text: object) -> SafeString:
    """Return a link to an admin list (`app_model`) with a query string."""
    return format_html('<a href="{}?{}" class="panel-link">{}</a>', reverse(f"admin:{view}_changelist"), query, text)


def preformatted(text: str) -> SafeString | str:
    """Return text from outside as it is, escaped, in a box that scrolls by itself."""
    return format_html('<pre class="panel-pre">{}</pre>', text) if text else EMPTY


def pretty_json(value: object) -> SafeString | str:
    """Return a JSON value, indented and readable."""
    return preformatted(json.dumps(value, ensure_ascii=False, indent=2)) if value else EMPTY
