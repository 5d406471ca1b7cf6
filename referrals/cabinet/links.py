"""A referrer's links: the school's landing pages with their code, how to pass them on, and their QR codes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import segno
from django.utils.translation import gettext as _

from referrals.cabinet.models import LandingPage
from referrals.models import Referrer


@dataclass(frozen=True, slots=True)
class Link:
    """One landing page's link of one referrer."""

    page: int
    title: str
    url: str
    telegram: str  # opens Telegram with the link to send on
    whatsapp: str


def referral_url(url: str, code: str) -> str:
    """Return a page's address with `utm_source=<code>`, whatever utm_source it had; the rest of it stays."""
    scheme, host, path, query, fragment = urlsplit(url)
    pairs = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "utm_source"]
    return urlunsplit((scheme, host, path, urlencode([*pairs, ("utm_source", code)]), fragment))


def links_of(referrer: Referrer) -> list[Link]:
    """Return the referrer's link for each active landing page."""
    return [_link(page, referrer) for page in LandingPage.objects.filter(active=True)]


def qr_svg(url: str) -> str:
    """Return the QR code of an address as an SVG without colours of its own but black on white."""
    out = io.BytesIO()
    # Error correction M reads well from a phone's screen; the white border belongs to the code.
    segno.make(url, error="m", micro=False).save(
        out, kind="svg", border=3, scale=8, xmldecl=False, svgns=True, light="#fff", omitsize=True
    )
    return out.getvalue().decode()


def _link(page: LandingPage, referrer: Referrer) -> Link:
    url = referral_url(page.url, referrer.code)
    text = _("I study at onAI Academy and recommend it: %(title)s") % {"title": page.title}
    return Link(
        page=page.pk,
        title=page.title,
        url=url,
        telegram="https://t.me/share/url?" + urlencode({"url": url, "text": text}),
        whatsapp="https://wa.me/?" + urlencode({"text": f"{text} {url}"}),
    )
