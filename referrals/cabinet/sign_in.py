"""The ways in and out."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from referrals.cabinet import access, tokens
from referrals.cabinet.doors import private, signed_in
from referrals.cabinet.models import CabinetSession, OneTimeToken


@private
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for an address, and answer the same whether anybody is known by it."""
    if request.method != "POST":
        if access.session_of(request) is not None:
            return redirect("cabinet:home")
        return render(request, "cabinet/sign_in.html")
    taken = access.link_request(
        address=request.POST.get("address", "")[:200].replace("\0", ""), place=access.place_of(request)
    )
    if not taken:
        return render(request, "cabinet/sign_in.html", {"too_often": True}, status=429)
    return render(request, "cabinet/sent.html")


@private
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest) -> HttpResponse:
    """Open a one-time link: GET only shows a button, for messengers open links by themselves; POST signs in.

    The token is in the query, which no log of ours keeps, and in the form.
    """
    if request.method != "POST":
        token = request.GET.get("t", "")
        if not tokens.token_alive(token, OneTimeToken.Purpose.SIGN_IN):
            return render(request, "cabinet/dead_link.html", status=410)
        return render(request, "cabinet/confirm.html", {"token": token})
    secret = access.session_begin(token=request.POST.get("t", ""))
    if secret is None:
        return render(request, "cabinet/dead_link.html", status=410)
    rotate_token(request)
    response = redirect("cabinet:home")
    access.set_cookie(response, secret, access.SESSION_AGE)
    return response


@private
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this session: the owner's or the manager's who looked."""
    session = access.session_of(request)
    if session is not None:
        access.session_end(session)
    return _gone(request)


@signed_in
def sign_out_everywhere(request: HttpRequest, session: CabinetSession) -> HttpResponse:
    """End all of the owner's sessions."""
    if request.method != "POST":
        return redirect("cabinet:settings")
    access.sessions_end(session.referrer)
    return _gone(request)


def _gone(request: HttpRequest) -> HttpResponse:
    response = redirect("cabinet:sign-in")
    response.delete_cookie(access.COOKIE, path=access.PATH)
    return response
