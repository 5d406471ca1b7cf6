"""UTM as people paste it: an address, its query, or lines such as "utm_source: facebook". Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from traffic.attribution import UTM

_PAIR = re.compile(
    r"(?:^|[?&;,#\s{])\s*[\"']?(utm_(?:source|medium|campaign|content|term))[\"']?\s*[=:]\s*",
    re.IGNORECASE,
)
_LONGEST = 2000


def parse_utm(text: str) -> dict[str, str]:
    """Return the UTM values that a text names, by name; what it does not name is left out, the first of two wins.

    In an address values end at "&" and are decoded; on lines of their own they reach to the end of the line.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        is_address = "&" in line or "?" in line
        matches = list(_PAIR.finditer(line))
        ends = [match.start() for match in matches[1:]]
        for match, end in zip(matches, [*ends, len(line)], strict=True) if matches else ():
            value = line[match.end() : end].strip()
            if value[:1] in ('"', "'"):
                value = value[1:].partition(value[0])[0]
            elif is_address:
                value = unquote_plus(re.split(r"[&#]", value)[0], errors="replace")
            found.setdefault(match[1].lower(), value.strip(" \t,;")[:_LONGEST])
    return {name: found[name] for name in UTM if name in found}
