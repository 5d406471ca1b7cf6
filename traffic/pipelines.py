"""Which pipelines' won deals are sales, and what they sell: the admin's word, else TRAFFIC_PIPELINE_IDS."""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings

from traffic.models import Pipeline

# As of the latest look in this process: the log asks for each event of a batch, after the sales have looked.
_watched: tuple[int, ...] | None = None


def watched_pipelines() -> tuple[int, ...]:
    """Return the pipelines that make sales: the setting's, unless the admin excludes them, and the admin's own."""
    global _watched
    entered = dict(Pipeline.objects.order_by("pipeline_id").values_list("pipeline_id", "counts"))
    default = [pipeline for pipeline in settings.TRAFFIC_PIPELINE_IDS if entered.pop(pipeline, True)]
    _watched = (*default, *(pipeline for pipeline, counts in entered.items() if counts))
    return _watched


def concerns_sales(pipelines: Collection[int]) -> bool:
    """Return whether one of these pipelines is watched, as of the latest look: no query for each event."""
    watched = watched_pipelines() if _watched is None else _watched
    return any(pipeline in watched for pipeline in pipelines)


def product_name(pipeline_id: int) -> str:
    """Return what a pipeline sells, as entered in the admin; "" where nothing is."""
    names = Pipeline.objects.filter(pk=pipeline_id).values_list("product", "name").first()
    return "" if names is None else names[0] or names[1]
