"""The web server's entry point: granian --interface wsgi onai_project.wsgi:application."""

from __future__ import annotations

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import reverse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "onai_project.settings")
django_application = get_wsgi_application()

from webhooks import door  # noqa: E402  # its models need Django set up

application = door.before(django_application, never_busy={reverse("live")})

# All that a page needs is loaded now and stays for ever. A full collection would look at it each time and take 0.1 s of
# somebody's request.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()
