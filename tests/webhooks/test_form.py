from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import bodies
from webhooks.amocrm import form


def test_it_nests_brackets_whether_the_keys_are_encoded_or_not():
    expected = {"leads": {"status": {"0": {"id": "1", "name": "a b"}}}}
    assert form.decode(b"leads[status][0][id]=1&leads[status][0][name]=a+b") == expected
    assert form.decode(b"leads%5Bstatus%5D%5B0%5D%5Bid%5D=1&leads%5bstatus%5d%5b0%5d%5bname%5d=a%20b") == expected


def test_it_splits_on_the_first_equals_sign_and_decodes_once():
    assert form.decode(b"a=x%3D1=2%2526&b=%26amp%3B") == {"a": "x=1=2%26", "b": "&amp;"}


def test_it_keeps_brackets_in_values_and_newlines():
    assert form.decode(b"a[name]=%D0%93%5B1%5D%0A") == {"a": {"name": "Г[1]\n"}}


def test_it_keeps_gaps_in_indexes_as_keys():
    assert form.decode(b"a[0]=x&a[7]=y") == {"a": {"0": "x", "7": "y"}}


def test_it_appends_like_php():
    assert form.decode(b"a[]=x&a[]=y&a[k][]=z") == {"a": {"0": "x", "1": "y", "k": {"0": "z"}}}


def test_a_text_never_replaces_a_branch():
    assert form.decode(b"leads[status][0][id]=1&leads=x") == {"leads": {"status": {"0": {"id": "1"}}}}
    assert form.decode(b"leads=x&leads[status][0][id]=1") == {"leads": {"status": {"0": {"id": "1"}}}}


def test_of_equal_keys_the_last_wins():
    assert form.decode(b"a=1&a=2") == {"a": "2"}


@pytest.mark.parametrize("body", [b"a%zz=%", b"a=\xff\xfe", b"a=%ff", b"a[b=1", b"a]b[=1", b"a=%00"])
def test_it_takes_broken_escapes_and_bytes_as_they_are(body: bytes):
    assert len(form.decode(body, bodies.FORM)) == 1


def test_deep_brackets_end_at_the_limit():
    tree = form.decode(b"a" + b"[x]" * 200 + b"=1")
    depth = 0
    while isinstance(tree, dict):
        tree = next(iter(tree.values()))
        depth += 1
    assert depth == form.MAX_DEPTH + 2


def test_many_appends_take_linear_time():
    tree = form.decode(b"a[]=1&" * 150_000)
    assert len(tree["a"]) == 150_000


def test_five_thousand_fields_are_read():
    tree = form.decode(b"&".join(b"leads[add][%d][id]=%d" % (i, i) for i in range(5000)))
    assert len(tree["leads"]["add"]) == 5000


def test_numbers_in_json_stay_the_text_they_were():
    tree = form.decode(b'{"a": 100000.50, "b": 12345678901234567890123, "c": NaN, "d": 1e999}')
    assert tree == {"a": "100000.50", "b": "12345678901234567890123", "c": "NaN", "d": "1e999"}


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"{", "application/json", "not JSON"),
        (b"a=1", "application/json", "not JSON"),
        (b"{broken", bodies.FORM, "not JSON"),
        (b"[1]", "application/json", "object is expected"),
        (b"[" * 100_000, "application/json", "not JSON"),
        (b"&&==&", bodies.FORM, "no key"),
        (b"=x", bodies.FORM, "no key"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1', "multipart/form-data; boundary=b", "multipart"),
    ],
)
def test_it_says_what_is_neither_form_nor_json(body: bytes, content_type: str, says: str):
    with pytest.raises(form.BodyError, match=says):
        form.decode(body, content_type)


@pytest.mark.parametrize("content_type", ["", bodies.FORM, "application/json", "text/plain"])
def test_an_empty_body_is_an_empty_dict(content_type: str):
    assert form.decode(b"", content_type) == {}


def test_json_is_read_whatever_the_header_says():
    assert form.decode(b' {"a": "b"}', bodies.FORM) == {"a": "b"}
    assert form.decode(b'\xef\xbb\xbf{"a": "b"}', "application/json") == {"a": "b"}


names = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), min_size=1, max_size=6)
leaves = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3), max_leaves=12)


def pairs(prefix: str, node: object) -> dict[str, str]:
    if isinstance(node, str):
        return {prefix: node}
    assert isinstance(node, dict)
    return {key: leaf for name, child in node.items() for key, leaf in pairs(f"{prefix}[{name}]", child).items()}


@given(st.dictionaries(names.filter(str.strip), trees, min_size=1, max_size=3))
def test_what_was_written_with_brackets_is_read_back(tree: dict[str, object]):
    flat = {key: leaf for name, child in tree.items() for key, leaf in pairs(name, child).items()}
    assert form.decode_form(bodies.form(flat)) == tree


@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes):
    tree = form.decode_form(body)
    json.dumps(tree)
    if not form.needs_a_look(body, bodies.FORM):
        assert form.decode(body, bodies.FORM), "the door took it for decodable without a look"
