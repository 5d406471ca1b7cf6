"""The project's settings for tests and type checks: not a person's .env, only the environment, decides."""

from __future__ import annotations

import os

os.environ["ENV_FILE"] = os.devnull  # for the processes that tests start, too
os.environ.setdefault("DEBUG", "on")

from onai_project.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# WhiteNoise would warn of the missing static root, which tests do not need.
WHITENOISE_AUTOREFRESH = True
