"""The embedded PostgreSQL (placeholder interface, see helper)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def embedded_config(base_dir: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.postgresql", "NAME": "onai", "USER": "postgres", "HOST": "/tmp/pgx"}


@contextmanager
def running(unless: bool = False) -> Iterator[None]:
    yield
