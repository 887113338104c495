"""The tree of a day: every leaf leads to the root, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.signing import NoSigningKey, SigningKey, signed_by
from schemas.days import BYTES, Leaf, levels, root_from, root_of

pytestmark = pytest.mark.unit


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(f"{n}".encode()).digest() for n in range(count)]


def path_of(tree: list[bytes], index: int) -> list[bytes]:
    found = []
    for level in tree[:-1]:
        start = (index ^ 1) * BYTES
        if start < len(level):
            found.append(level[start : start + BYTES])
        index //= 2
    return found


def rfc_6962(leaves: list[bytes]) -> bytes:
    """The tree as its document defines it: split at the largest power of two below."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + rfc_6962(leaves[:half]) + rfc_6962(leaves[half:])).digest()


@given(st.integers(1, 70))
def test_the_tree_is_that_of_rfc_6962(count: int) -> None:
    leaves = digests(count)
    tree = levels(b"".join(leaves))
    assert root_of(tree) == rfc_6962(leaves).hex()
    for index, leaf in enumerate(leaves):
        assert root_from(leaf, index, count, path_of(tree, index)) == root_of(tree)


@given(st.integers(1, 40), st.data())
def test_no_other_place_and_no_other_path_leads_there(count: int, data: st.DataObject) -> None:
    leaves = digests(count)
    tree = levels(b"".join(leaves))
    index = data.draw(st.integers(0, count - 1))
    path, root = path_of(tree, index), root_of(tree)
    assert root_from(hashlib.sha256(b"other").digest(), index, count, path) != root
    assert root_from(leaves[index], index, count, [*path, leaves[0]]) is None
    if path:
        assert root_from(leaves[index], index, count, path[:-1]) is None
        at = data.draw(st.integers(0, len(path) - 1))
        assert root_from(leaves[index], index, count, [*path[:at], bytes(BYTES), *path[at + 1 :]]) != root
    elsewhere = data.draw(st.integers(0, count - 1))
    assert elsewhere == index or root_from(leaves[index], elsewhere, count, path) != root


def test_of_no_leaf() -> None:
    assert levels(b"") == []
    assert root_of([]) == hashlib.sha256(b"").hexdigest()


def test_a_leaf_is_canonical_json_with_a_zero_before_it() -> None:
    leaf = Leaf("acct_é", 1, -2, 3, 4, "ab", "sess_1")
    text = '{"account_id":"acct_é","billable_ms":1,"credit_us":-2,"entries":3,"frames":4,"hash":"ab",'
    text += '"session_id":"sess_1"}'
    assert leaf.digest() == hashlib.sha256(b"\0" + text.encode()).digest()


def test_a_signature_is_its_keys_own() -> None:
    key, other = SigningKey(SigningKey.generate("a")), SigningKey(SigningKey.generate("b"))
    signature = key.sign(b"day")
    assert signed_by(key.public, b"day", signature)
    assert not signed_by(other.public, b"day", signature)
    assert not signed_by(key.public, b"days", signature)
    assert not signed_by(key.public, b"day", other.sign(b"day"))
    assert not signed_by("no key", b"day", signature)


@pytest.mark.parametrize("spec", ["", "a", "a:", ":AAAA", "a:AAAA", "a:!", ":" + "A" * 43 + "="])
def test_what_is_no_key(spec: str) -> None:
    with pytest.raises(NoSigningKey):
        SigningKey(spec)
