"""What the read APIs of all apps share: who asks (session or token), what they may, the schema, the token's page.

An app's view derives from `ReadView`, names the `permission` that it needs, and scopes what it shows by
`request.user` as the app's pages do, with the same selectors.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from onai_project.models import ApiToken


def make_token(*, user: User) -> str:
    """Give a person a new key and return it; it can't be read again, and the old one ends."""
    token = secrets.token_urlsafe(32)
    ApiToken.objects.update_or_create(user=user, defaults={"digest": _digest(token), "created_at": timezone.now()})
    return token


def remove_token(*, user: User) -> None:
    """End a person's key."""
    ApiToken.objects.filter(user=user).delete()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>` (or `Token <token>`) of somebody who may enter the site."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the person and their key; None without a header. Raises AuthenticationFailed for a wrong key."""
        words = get_authorization_header(request).decode("latin-1").split()
        if not words or words[0].lower() not in ("bearer", "token"):
            return None
        found = ApiToken.objects.select_related("user").filter(digest=_digest(" ".join(words[1:]))).first()
        if found is None or not found.user.is_active:
            raise AuthenticationFailed(_("There is no such token."))
        return found.user, found

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return "Bearer"


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes the token."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return OpenAPI's words for it."""
        return {"type": "http", "scheme": "bearer"}


class MayRead(BasePermission):
    """Staff with the view's `permission`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether they may; a view without a permission of its own is open to all staff."""
        permission = getattr(view, "permission", "")
        user = request.user
        return bool(
            user.is_active and getattr(user, "is_staff", False) and (not permission or user.has_perm(permission))
        )


READERS: list[type[BaseAuthentication]] = [TokenAuthentication, SessionAuthentication]


class ReadView(APIView):
    """A read API: GET only, by session or token, for those with `permission` ("app.codename")."""

    http_method_names = ["get", "head", "options"]
    authentication_classes = READERS
    permission_classes = [MayRead]
    permission: str


class SchemaView(SpectacularAPIView):
    """The OpenAPI description of all read APIs, for staff."""

    authentication_classes = READERS
    permission_classes = [MayRead]


def api_access(request: HttpRequest) -> HttpResponse:
    """The page on which a person makes or removes their own key, and sees a new one once."""
    user = request.user
    if not isinstance(user, User):
        raise PermissionDenied
    new = ""
    if request.method == "POST":
        if "remove" in request.POST:
            remove_token(user=user)
        else:
            new = make_token(user=user)
    context = {
        **admin.site.each_context(request),
        "title": "API",
        "new": new,
        "token": ApiToken.objects.filter(user=user).first(),
        "example": request.build_absolute_uri("/api/traffic/dashboard/?period=month"),
    }
    return TemplateResponse(request, "onai_project/api.html", context)
