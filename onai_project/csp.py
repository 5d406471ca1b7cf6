"""The Content-Security-Policy header: strict everywhere, and what unfold's Alpine needs under the admin site alone."""

from __future__ import annotations

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse


class PathCSPMiddleware(CSPMiddleware):
    """django-csp's middleware with a second policy, ADMIN_CONTENT_SECURITY_POLICY, for the paths of the admin site."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Leave an exempt response alone: django-csp would build its header first and then drop it."""
        if getattr(response, "_csp_exempt", False):
            return response
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return the policy of the path."""
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and request.path_info.startswith(reverse("admin:index")):
            parts.config = settings.ADMIN_CONTENT_SECURITY_POLICY
        return parts
