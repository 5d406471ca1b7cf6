"""The targetologists, their rules and the funnels, as the contract lists them: for the migrations and for tests."""

from __future__ import annotations

from typing import Any

TARGETOLOGISTS = (
    ("kenesary", "Kenesary", "👑", ("tripwire", "nutcab", "kenesary", "kenji")),
    ("arystan", "Arystan", "🦁", ("arystan",)),
    ("muha", "Muha", "🚀", ("on ai", "onai", "запуск", "yourmarketolog", "muha")),
    ("traf4", "Traf4", "⚡", ("alex", "traf4", "proftest", "pb_agency")),
)
# Slug, name, the words of a campaign's name that tell of it. The first is what a campaign without any of them sells.
FUNNELS = (
    ("express", "Экспресс", ("express", "экспресс")),
    ("challenge3d", "Трёхдневник", ("challenge", "трехдневник", "3d")),
    ("intensive1d", "Однодневник", ("intensive", "однодневник", "1d")),
)


def seed(targetologists: Any, rules: Any) -> None:
    """Create what is missing; the arguments are the model classes (historical ones in a migration).

    Each pattern is looked for in campaign and source first; in the medium only after all of those failed: production
    campaigns carry Muha's marker there, and a medium must not outvote another's campaign.
    """
    for order, (slug, name, emoji, _) in enumerate(TARGETOLOGISTS, start=1):
        targetologists.objects.get_or_create(slug=slug, defaults={"name": name, "emoji": emoji, "order": order})
    if rules.objects.exists():
        return
    patterns = [(slug, pattern) for slug, _, _, patterns in TARGETOLOGISTS for pattern in patterns]
    rules.objects.bulk_create(
        rules(order=10 * position, targetologist_id=slug, field=field, match="contains", pattern=pattern)
        for position, (field, slug, pattern) in enumerate(
            ((field, *pattern) for field in ("campaign_or_source", "utm_medium") for pattern in patterns), start=1
        )
    )


def seed_funnels(funnels: Any) -> None:
    """Create the funnels that are missing; the argument is the model class."""
    for order, (slug, name, words) in enumerate(FUNNELS, start=1):
        funnels.objects.get_or_create(
            slug=slug,
            defaults={"name": name, "words": "\n".join(words), "order": order, "is_default": order == 1},
        )
