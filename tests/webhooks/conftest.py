from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.amocrm_server import TOKEN, FakeAmoCrm


@pytest.fixture
def crm(settings: Any) -> Iterator[FakeAmoCrm]:
    """The fake AmoCRM, and the settings that lead to it."""
    with FakeAmoCrm() as fake:
        settings.AMOCRM_BASE_URL, settings.AMOCRM_ACCESS_TOKEN = fake.url, TOKEN
        yield fake
