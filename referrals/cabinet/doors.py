"""What every page of the cabinet has: a session, no caching, and for a manager who looks, no changes and a record."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers

from referrals.cabinet.access import session_of
from referrals.cabinet.models import AccessEvent, CabinetSession

View = Callable[Concatenate[HttpRequest, CabinetSession, ...], HttpResponse]


def private(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep what a view answers out of every cache, and render its 404 as a page of the cabinet."""

    @functools.wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            response = render(request, "cabinet/not_found.html", status=404)
        add_never_cache_headers(response)
        return response

    return wrapper


def signed_in(view: View) -> Callable[..., HttpResponse]:
    """Call `view(request, session, …)`; whoever is not signed in is sent to where one does.

    A manager who looks may only read, and each page they open is written down.
    """

    @private
    @functools.wraps(view)
    def wrapper(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        session = session_of(request)
        if session is None:
            return redirect("cabinet:sign-in")
        if session.viewer is not None:
            if request.method not in ("GET", "HEAD"):
                return render(request, "cabinet/read_only.html", {"session": session}, status=403)
            AccessEvent.objects.create(
                referrer=session.referrer,
                kind=AccessEvent.Kind.PAGE_VIEWED,
                by=session.viewer,
                detail=request.path[:200],
            )
        return view(request, session, **kwargs)

    return wrapper
