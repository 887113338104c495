"""Tags, coded and read again; keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faces.mark.code import TAG_BITS, WORD, coded, decoded, likeness
from faces.mark.keys import BadMarkKeys, MarkKey, MarkKeyring

pytestmark = pytest.mark.unit

ZEROS = "A" * 43 + "="
"""32 bytes."""

tags = st.integers(0, 2**TAG_BITS - 1)


@given(tags, st.integers(0, 2**32 - 1))
def test_a_tag_survives_every_tenth_sign_turned_and_noise(tag: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    soft = coded([tag])[0] * np.where(np.arange(WORD) % 10 == seed % 10, -0.5, 1.0) + rng.normal(0, 0.1, WORD)
    assert decoded(soft) == tag


@given(st.lists(tags, min_size=1, max_size=20))
def test_many_are_coded_as_each_is(several: list[int]) -> None:
    assert np.array_equal(coded(several), np.concatenate([coded([tag]) for tag in several]))


@given(tags, tags)
def test_words_differ_in_18_signs_at_least(one: int, other: int) -> None:
    """The free distance of the code."""
    assert one == other or int((coded([one]) != coded([other])).sum()) >= 18


def test_silence_and_noise_are_no_tag() -> None:
    rng = np.random.default_rng(1)
    assert decoded(np.zeros(WORD)) is None
    assert decoded(np.full(WORD, 1e-9)) is None
    assert sum(decoded(rng.normal(size=WORD)) is not None for _ in range(200)) == 0


def test_a_known_tag_is_found_where_it_cannot_be_read() -> None:
    rng = np.random.default_rng(2)
    known = rng.integers(0, 2**TAG_BITS, 100_000, dtype=np.uint64)
    soft = coded(known[[777]])[0] * 0.5 + rng.normal(0, 1, WORD)
    fits = likeness(soft, known)
    assert decoded(soft) is None
    assert fits.argmax() == 777
    assert fits[777] > 5.5 > np.delete(fits, 777).max()
    assert likeness(soft, []).shape == (0,)


def test_the_first_key_of_a_ring_marks_and_all_are_known() -> None:
    ring = MarkKeyring(f" {MarkKeyring.generate('new')}, {MarkKeyring.generate('old')} ,")
    assert [key.key_id for key in ring] == ["new", "old"]
    assert ring.current.key_id == "new"
    assert ring.get("old") is not None
    assert ring.get("older") is None


@pytest.mark.parametrize("spec", ["", " , ", "k1", "k1:", "k1:c2hvcnQ=", f":{ZEROS}", "k1:?", f"k1:{ZEROS},k1:{ZEROS}"])
def test_what_is_no_ring_says_how_to_make_one(spec: str) -> None:
    with pytest.raises(BadMarkKeys, match="openssl rand"):
        MarkKeyring(spec)


def test_tags_are_the_keys_and_the_names() -> None:
    one, other = MarkKey("k", b"1" * 32), MarkKey("k", b"2" * 32)
    assert one.tag("sess_1") == MarkKey("renamed", b"1" * 32).tag("sess_1")
    assert len({one.tag("sess_1"), one.tag("sess_2"), other.tag("sess_1")}) == 3
