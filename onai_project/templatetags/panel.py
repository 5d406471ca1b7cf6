"""Template filters and tags of the dashboards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from onai_project import filters
from onai_project.comparison import signed
from onai_project.links import deal_url
from onai_project.money import money
from onai_project.tables import Kind, shown
from onai_project.tables_html import body_html, total_html

register = template.Library()
register.filter("money", money)
register.filter("deal_url", deal_url)
register.filter("signed", signed)
register.filter("body_html", body_html)
register.filter("total_html", total_html)


@register.filter
def count(number: int | None) -> str:
    """Return a count with thin spaces; "—" for None."""
    return shown(number, Kind.COUNT)


@register.filter
def times(ratio: Decimal | None) -> str:
    """Return a ratio as "2,50 ×"; "—" for None."""
    return shown(ratio, Kind.RATIO)


@register.simple_tag(takes_context=True)
def address_with(context: Mapping[str, Any], changes: Mapping[str, Any] | None = None, **more: Any) -> str:
    """Return the page's query string with parameters changed, None for none: `{% address_with funnel="express" %}`."""
    return filters.address_with(context["request"].GET, {**(changes or {}), **more})


@register.simple_tag(takes_context=True)
def address_with_name(context: Mapping[str, Any], name: str, value: object) -> str:
    """Return the page's query string with one parameter changed whose name is in a variable."""
    return filters.address_with(context["request"].GET, {name: value})


@register.simple_tag(takes_context=True)
def kept(context: Mapping[str, Any], *names: str) -> SafeString:
    """Return hidden inputs for all parameters but these: a form of the page then changes these and keeps the rest."""
    query = context["request"].GET
    rest = [(name, value) for name, values in query.lists() if name not in (*names, "page") for value in values]
    return format_html_join("", '<input type="hidden" name="{}" value="{}">', rest)


@register.simple_tag(takes_context=True)
def address_with_names(context: Mapping[str, Any], names: Iterable[str], value: object) -> str:
    """Return the page's query string with several parameters set to one value, None for none."""
    return filters.address_with(context["request"].GET, dict.fromkeys(names, value))
