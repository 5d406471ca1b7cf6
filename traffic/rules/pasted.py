"""UTM as people paste it: an address, its query, or lines such as "utm_source: facebook". Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from traffic.attribution import UTM

_PAIR = re.compile(
    r"(?P<before>^|[?&;,#\s{])\s*[\"']?(?P<name>utm_(?:source|medium|campaign|content|term))[\"']?\s*(?P<sign>[=:])\s*",
    re.IGNORECASE,
)
# What shows that a value was taken from an address: the next parameter, or a character that is encoded.
_ENCODED = re.compile(r"&[\w.-]*=|%[0-9A-Fa-f]{2}")
_LONGEST = 2000


def parse_utm(text: str) -> dict[str, str]:
    """Return the UTM values that a text names, by name; what it does not name is left out, the first of two wins.

    In an address values end at "&" and are decoded; on lines of their own they reach to the end of the line.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        matches = list(_PAIR.finditer(line))
        ends = [match.start() for match in matches[1:]]
        for match, end in zip(matches, [*ends, len(line)], strict=True) if matches else ():
            value = line[match.end() : end].strip()
            if value[:1] in ('"', "'"):
                value = value[1:].partition(value[0])[0]
            elif match["sign"] == "=" and (
                match["before"] in ("?", "&") or line[end : end + 1] == "&" or _ENCODED.search(value)
            ):
                value = unquote_plus(re.split(r"[&#]", value)[0], errors="replace")
            found.setdefault(match["name"].lower(), value.strip(" \t,;")[:_LONGEST])
    return {name: found[name] for name in UTM if name in found}
