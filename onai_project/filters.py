"""What a dashboard is filtered by: the choices in its form. The URL holds all of it, so that it can be sent on.

Every parameter stands in the query string under its own name. Templates make links that change a part of it and keep
the rest with `{% address_with name=value %}` (templatetags/panel.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.http import QueryDict


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter: a list to choose from if it has `options` (value, title), else whatever a click or a URL says.

    `value` is None where it does not filter; "" is a value like others (sales without a campaign).
    """

    name: str
    title: str
    value: str | None = None
    options: Sequence[tuple[str, str]] = field(default_factory=list)
    empty_title: str = "—"

    @property
    def active(self) -> bool:
        """Whether it filters anything out."""
        return self.value is not None

    @property
    def shown(self) -> str:
        """The value as people call it."""
        titles = dict(self.options)
        return titles.get(self.value or "", self.value or "") or self.empty_title


def value_from_query(query: Mapping[str, str], name: str, none: Iterable[str] = ()) -> str | None:
    """Return what a URL says of one parameter; None where it says nothing, or one of `none`. NUL bytes are dropped."""
    value = query.get(name)
    return None if value is None or value in none else value.replace("\x00", "")


def address_with(query: QueryDict, changes: Mapping[str, object]) -> str:
    """Return "?…": the query string with some parameters changed, None for none; any change leads to page one."""
    changed = query.copy()
    for name, value in {"page": None, **changes}.items():
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = str(value)
    return f"?{changed.urlencode()}"
