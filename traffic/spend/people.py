"""What a targetologist may be called in a file of ad spend."""

from __future__ import annotations

from traffic.models import Targetologist


def slugs_by_name() -> dict[str, str]:
    """Return the slug by slug, by name and by name with emoji, all in lower case."""
    slugs: dict[str, str] = {}
    for person in Targetologist.objects.all():
        for called in (person.slug, person.name, str(person)):
            slugs.setdefault(called.casefold(), person.slug)
    return slugs
