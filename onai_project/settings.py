"""All settings, read from the environment; production refuses to start without what it cannot guess.

`.env` beside manage.py is read when it exists (`make run` writes it). The README lists every name.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from onai_project import database
from onai_project.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
env.read_env(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))

DEBUG = env.bool("DEBUG", default=False)

missing = [
    f"{name} ({why})"
    for name, why in {
        "SECRET_KEY": "a long random string",
        "DATABASE_URL": "postgres://user:password@host:5432/name",
        "AMOCRM_WEBHOOK_SECRETS": "the ?key= of the webhook's URL; several, comma-separated, while rotating",
    }.items()
    if not DEBUG and not env.str(name, default="")
]
if missing:
    raise ImproperlyConfigured(
        "With DEBUG off these environment variables must be set: "
        + "; ".join(missing)
        + ". For a first look on your own machine run `make run`, which writes a .env with DEBUG on."
    )

SECRET_KEY = env.str("SECRET_KEY", default="only-for-development-and-tests")
# Where people open this site: links in messages and the printed webhook URL.
SITE_URL: str = env.str("SITE_URL", default="http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=[urlsplit(SITE_URL).hostname or "localhost", "127.0.0.1", "localhost", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Set when a proxy that we run ends TLS and overwrites X-Forwarded-Proto and X-Forwarded-For.
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)

# --- AmoCRM -------------------------------------------------------------------------------------
AMOCRM_WEBHOOK_SECRETS: list[str] = env.list("AMOCRM_WEBHOOK_SECRETS", default=[])
AMOCRM_ACCOUNT_ID: str = env.str("AMOCRM_ACCOUNT_ID", default="")
AMOCRM_BASE_URL: str = env.str("AMOCRM_BASE_URL", default="https://onaiagencykz.amocrm.ru")
# A long-lived token of a private integration. Empty: the API is not asked.
AMOCRM_ACCESS_TOKEN: str = env.str("AMOCRM_ACCESS_TOKEN", default="")
TRAFFIC_PIPELINE_IDS: list[int] = env.list("TRAFFIC_PIPELINE_IDS", cast=int, default=[10418746])
# The last closed month, "2025-11": re-attribution leaves its sales and all before it. Empty: no month is closed.
TRAFFIC_CLOSED_UNTIL: str = env.str("TRAFFIC_CLOSED_UNTIL", default="")
AMOCRM_UTM_FIELD_IDS: dict[str, str] = env.dict(
    "AMOCRM_UTM_FIELD_IDS",
    default={
        "utm_source": "434731",
        "utm_medium": "434727",
        "utm_campaign": "434729",
        "utm_content": "434725",
        "utm_term": "434733",
        "utm_referrer": "434735",
        "fbclid": "434761",
    },
)
# Larger bodies are refused with 413. The largest real body that we know has 20 kB.
WEBHOOK_MAX_BYTES = 1024 * 1024
# Bodies, headers and addresses of deliveries are dropped after this many days; 0 keeps them. Replay needs them.
WEBHOOK_BODY_DAYS = env.int("WEBHOOK_BODY_DAYS", default=180)
# No delivery for so many business hours is an alarm; 0: never.
SILENCE_HOURS = env.int("SILENCE_HOURS", default=24)
# Who may read /metrics from elsewhere than this machine: `Authorization: Bearer <token>`.
METRICS_TOKEN: str = env.str("METRICS_TOKEN", default="")

# --- Money and messages -------------------------------------------------------------------------
CURRENCY = "KZT"
# A commission can be paid this many days after the sale.
REFERRAL_HOLD_DAYS = env.int("REFERRAL_HOLD_DAYS", default=14)
# Who has less available is paid in a later batch; each batch may have another minimum.
REFERRAL_PAYOUT_MINIMUM = env.int("REFERRAL_PAYOUT_MINIMUM", default=5000)
# A sale older than this makes no message: it is news to nobody.
NOTIFY_MAX_AGE = timedelta(days=env.int("NOTIFY_MAX_AGE_DAYS", default=3))
TELEGRAM_BOT_TOKEN: str = env.str("TELEGRAM_BOT_TOKEN", default="")
TELEGRAM_CHAT_ID: str = env.str("TELEGRAM_CHAT_ID", default="")
# The bot's name without @: referrers link their chat by https://t.me/<name>. Without it they can't.
TELEGRAM_BOT_USERNAME: str = env.str("TELEGRAM_BOT_USERNAME", default="").lstrip("@")
# With it Telegram brings what people write to the bot to SITE_URL/r/bot/; without it the worker asks for it.
TELEGRAM_WEBHOOK_SECRET: str = env.str("TELEGRAM_WEBHOOK_SECRET", default="")
TELEGRAM_API_URL: str = env.str("TELEGRAM_API_URL", default="https://api.telegram.org/bot")

# --- Django -------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "onai_project",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "procrastinate.contrib.django",
    "axes",
    "csp",
    "webhooks",
    "notifications",
    "traffic",
    "referrals",
    "referrals.cabinet",
    "referrals.payouts",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "onai_project.csp.PathCSPMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "onai_project.urls"
WSGI_APPLICATION = "onai_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "onai_project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Jobs elsewhere than in an app's own tasks.py.
PROCRASTINATE_IMPORT_PATHS = ["traffic.reattribution.tasks"]

# One connection a thread, kept open: opening one costs more than storing a delivery.
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **(env.db_url("DATABASE_URL") if env.str("DATABASE_URL", default="") else database.embedded_config(BASE_DIR)),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
}
# 2 s is libpq's least: AmoCRM waits no longer for an answer. Of a server that vanished, no packet ever says so: without
# the others a worker would wait for two hours.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 2,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    **DATABASES["default"].get("OPTIONS", {}),
}

# --- Language, time -----------------------------------------------------------------------------
LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="ru")
LANGUAGES = [("ru", "Русский"), ("en", "English")]
# Ours (made by makemessages), and unfold's, which brings no Russian.
LOCALE_PATHS = [BASE_DIR / "locale", BASE_DIR / "onai_project" / "unfold_locale"]
FORMAT_MODULE_PATH = ["onai_project.formats"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="Asia/Almaty")

# --- Static files, security ---------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    }
}
# unfold's Alpine evaluates expressions and its templates carry inline styles: only the admin may (onai_project/csp.py).
ADMIN_CONTENT_SECURITY_POLICY = {
    **CONTENT_SECURITY_POLICY["DIRECTIVES"],
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}
# Login guard: five wrong passwords lock that name at that address for a quarter of an hour.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
AXES_LOCKOUT_TEMPLATE = "lockout.html"
AXES_ENABLE_ADMIN = False
AXES_IPWARE_PROXY_COUNT = 1 if BEHIND_PROXY else 0

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "onAI Academy",
    "DESCRIPTION": "The numbers of the dashboards, read-only. Amounts are whole tenge, days are Asia/Almaty.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
}

# --- Logs, errors -------------------------------------------------------------------------------
LOGGING = logging_config(env.str("LOG_LEVEL", default="INFO"), as_json=env.bool("LOG_JSON", default=not DEBUG))
LOGGING_CONFIG = "logging.config.dictConfig"
SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    import sentry_sdk

    from onai_project.logs import without_query_string

    sentry_sdk.init(
        SENTRY_DSN,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,
        before_send=without_query_string,
    )

# --- Admin --------------------------------------------------------------------------------------
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "onAI Academy",
    "SITE_HEADER": "onAI Academy",
    "SITE_SUBHEADER": _("Sales and referrals"),
    "SITE_SYMBOL": "insights",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("onai_project/favicon.svg"),
        },
    ],
    "STYLES": [lambda request: static("onai_project/panel.css")],
    "SCRIPTS": [lambda request: static("onai_project/panel.js")],
    "DASHBOARD_CALLBACK": "onai_project.home.home_context",
    "SIDEBAR": {"navigation": "onai_project.sidebar.navigation"},
}
