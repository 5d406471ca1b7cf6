"""The web server's entry point: granian --interface wsgi onai_project.wsgi:application."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "onai_project.settings")
django_application = get_wsgi_application()

from webhooks import door  # noqa: E402  # its models need Django set up

application = door.before(django_application)
