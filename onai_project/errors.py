"""Django's own error answers: JSON for AmoCRM's addresses and the read APIs, pages for people."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: what Django refused before a view saw it, such as a wrong Host."""
    text = "bad request; is the host name in ALLOWED_HOSTS?"
    return _json(request, 400, text) or defaults.bad_request(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    text = "no such address; there are /webhook/amocrm, /webhook/amocrm/traffic and /webhook/amocrm/referral"
    return _json(request, 404, text) or defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: nothing was stored, so AmoCRM should send it again."""
    return _json(request, 500, "internal error; the delivery is not stored") or defaults.server_error(request)


def _json(request: HttpRequest, status: int, error: str) -> Any:
    if request.path.startswith("/webhook/"):
        return JsonResponse({"success": False, "error": error}, status=status)
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": "there is no such address" if status == 404 else "error"}, status=status)
    return None
