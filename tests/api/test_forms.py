"""Multipart bodies: which fields may be there."""

from __future__ import annotations

import pytest
from starlette.datastructures import FormData

from api import forms
from api.errors import Unprocessable

pytestmark = pytest.mark.unit


def refused(*fields: tuple[str, str]) -> Unprocessable:
    with pytest.raises(Unprocessable) as told:
        forms.known_once(FormData(list(fields)), ("image", "name"))
    return told.value


def test_what_is_known_is_taken_in_any_order() -> None:
    forms.known_once(FormData([("name", "a"), ("image", "b")]), ("image", "name"))
    forms.known_once(FormData(), ("image", "name"))


def test_a_field_that_is_there_twice_is_refused() -> None:
    """One of the two would count, and nobody would know which."""
    told = refused(("name", "a"), ("image", "b"), ("name", "a"))
    assert (told.code, told.param) == ("name.repeated", "name")


def test_a_field_that_nobody_knows_is_refused() -> None:
    """The image of an avatar is no clip."""
    told = refused(("name", "a"), ("clip", "b"))
    assert (told.code, told.param, told.message) == ("clip.unknown", "clip", "clip is not a field of this request.")
