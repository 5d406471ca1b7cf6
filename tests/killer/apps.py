"""An app for a worker under test: one delivery, whose body says so, kills the process that decodes it."""

from __future__ import annotations

import os
import signal
from typing import Any

from django.apps import AppConfig

POISON = b"kill-the-worker"


class KillerConfig(AppConfig):
    name = "tests.killer"

    def ready(self) -> None:
        from webhooks import inbox
        from webhooks.amocrm import form

        decode = form.decode

        def deadly(body: bytes, content_type: str = "") -> Any:
            if POISON in body:
                os.kill(os.getpid(), signal.SIGKILL)
            return decode(body, content_type)

        form.decode = deadly
        # Not 0: that is a claim's lease, too, and the other hand would have a part of the same batch at once.
        inbox.RETRY_SECONDS[:] = [2] * len(inbox.RETRY_SECONDS)
        inbox.MAX_ATTEMPTS = 3
