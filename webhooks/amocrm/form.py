"""Bytes of a request body → nested dict. Pure.

AmoCRM posts `application/x-www-form-urlencoded` with PHP's bracket keys (`leads[status][0][id]=1`); intermediaries and
people with curl post JSON of the same shape. Whatever came, a leaf of the result is a `str` and a branch is a `dict`
or, in JSON alone, a `list`: the readers in events.py see no difference.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

# Real keys nest 8 deep; what lies deeper keeps its text in the last key, so that nothing recurses without end.
MAX_DEPTH = 32

_BRACKETED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)", re.ASCII)

Tree = dict[str, Any]


class BodyError(ValueError):
    """The body is neither a form nor a JSON object; the text says what it is, for the sender to mend."""


def decode(body: bytes, content_type: str = "") -> Tree:
    """Return the nested dict that `body` says; an empty body is an empty dict.

    `content_type` is the request header, with or without parameters. Raises BodyError where the body says it is JSON,
    or starts like it, and isn't; is multipart; or yields no key though it isn't empty.
    """
    if says_json(body, content_type):
        return decode_json(body)
    if content_type.lower().startswith("multipart/"):
        raise BodyError("multipart bodies are not read; send application/x-www-form-urlencoded or JSON")
    tree = decode_form(body)
    if not tree and body.strip():
        raise BodyError("not a form: no key in it; send key=value pairs or a JSON object")
    return tree


def says_json(body: bytes, content_type: str) -> bool:
    """Return whether the body claims to be JSON, by its header or by its first character."""
    return (b"json" in content_type.lower().encode() and bool(body.strip())) or body.lstrip()[:1] in (b"{", b"[")


def needs_a_look(body: bytes, content_type: str) -> bool:
    """Return False for a body that surely decodes: the door then stores it without decoding it first."""
    return not (body[:1].isalnum() and content_type.startswith("application/x-www-form-urlencoded"))


def decode_json(body: bytes) -> Tree:
    """Return the JSON object in `body`, every number as the text it was sent as. Raises BodyError."""
    try:
        # Numbers stay text: money never passes through a float, and a giant integer costs nothing.
        tree = json.loads(
            body.decode("utf-8-sig", "replace"), parse_float=str, parse_int=str, parse_constant=str, strict=False
        )
    except (ValueError, RecursionError) as error:
        raise BodyError(f"not JSON: {error}"[:200]) from None
    if not isinstance(tree, dict):
        raise BodyError('a JSON object is expected, such as {"leads": [{"id": 1}]}')
    return tree


def decode_form(body: bytes) -> Tree:
    """Return the nested dict of a bracket form. Never raises.

    Split on `&`, then on the first `=`, then percent-decode, once. Bytes that are not UTF-8 become U+FFFD. Of equal
    keys the last wins, as in PHP; but a branch is never replaced by a text (`leads=x` after `leads[…]`).
    """
    tree: Tree = {}
    branches: dict[str, Tree] = {"": tree}  # by the text of the key before its last name
    appended: dict[int, int] = {}  # id of a branch → where to look for the next free index of `a[]`
    for pair in body.decode("utf-8", "replace").split("&"):
        raw_key, _, value = pair.partition("=")
        key = _key(raw_key) if len(raw_key) <= 300 else _key.__wrapped__(raw_key)
        if key is None:
            continue
        branch, path, name = key
        node = branches.get(branch)
        if node is None:
            node = _branch(tree, path, appended)
            if "" not in path:  # else each time another one
                branches[branch] = node
        if name == "":
            name = _free_index(node, appended)
        if type(node.get(name)) is not dict:
            node[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return tree


def _branch(tree: Tree, path: tuple[str, ...], appended: dict[int, int]) -> Tree:
    """Return the dict at `path`, made where it is missing."""
    node = tree
    for name in path:
        if name == "":
            name = _free_index(node, appended)
        child = node.get(name)
        if type(child) is not dict:
            child = node[name] = {}
        node = child
    return node


@lru_cache(maxsize=4096)
def _key(raw_key: str) -> tuple[str, tuple[str, ...], str] | None:
    """Return the text before the last name of a raw key, the names in it, and the last name; None for no key.

    `a%5Bb%5D%5Bc%5D` → ("a[b]", ("a", "b"), "c"). An empty inner name is PHP's append.
    """
    key = unquote_plus(raw_key) if "%" in raw_key or "+" in raw_key else raw_key
    match = _BRACKETED.fullmatch(key)
    if match is None:
        return ("", (), key) if key.strip() else None
    head, rest = match.groups()
    names = rest[1:-1].split("][")
    if len(names) > MAX_DEPTH:
        names[MAX_DEPTH:] = ["][".join(names[MAX_DEPTH:])]
    path = (head, *names[:-1])
    return "[".join(path), path, names[-1]


def _free_index(node: Tree, appended: dict[int, int]) -> str:
    """Return an index that `node` does not have yet, for `node[]`; constant time however many there are."""
    index = appended.get(id(node), 0)
    while str(index) in node:
        index += 1
    appended[id(node)] = index + 1
    return str(index)
