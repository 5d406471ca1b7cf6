"""The endpoints' addresses in the URLconf: the door as a view, and the contract's test endpoint."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.request import Request
from rest_framework.response import Response

from webhooks import door
from webhooks.registry import Endpoint

VERSION = "1.0.0"


@csrf_exempt
def receive_delivery(request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
    """Answer as the door does, by way of Django: for whoever calls Django's handler itself, a test client for one."""
    status, headers, body = door.receive_delivery(request.META, endpoint)
    return HttpResponse(body, status=status, headers=dict(headers))


@api_view(["GET"])
@authentication_classes([])
@permission_classes([])
def test_endpoint(request: Request, endpoint: Endpoint) -> Response:
    """Say that the endpoint is there, with the keys that the contract names and no other.

    While the database is away: 503, "error" says so, and what would be read there is left out.
    """
    answer = {
        "success": True,
        "message": endpoint.message,
        "endpoint": endpoint.path,
        "timestamp": door.now(),
        "version": VERSION,
    }
    try:
        return Response(answer | endpoint.details())
    except DatabaseError as error:
        connection.close()
        problem = {"success": False, "error": f"The database is away: {type(error).__name__}"}
        return Response(answer | problem, status=503)
