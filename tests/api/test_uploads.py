"""What an upload may say: the form alone."""

from __future__ import annotations

import io

import pytest
from starlette.datastructures import FormData, UploadFile

from api.errors import Unprocessable
from api.settings import ApiSettings
from api.uploads import Upload, _upload
from schemas.avatars import Background

pytestmark = pytest.mark.unit


def form(*fields: tuple[str, str | UploadFile]) -> FormData:
    return FormData([("image", UploadFile(io.BytesIO(b"x"))), *fields])


def upload(*fields: tuple[str, str | UploadFile], consent_required: bool = False) -> Upload:
    return _upload(form(*fields), consent_required)


def refused(*fields: tuple[str, str | UploadFile], consent_required: bool = False) -> Unprocessable:
    with pytest.raises(Unprocessable) as told:
        upload(*fields, consent_required=consent_required)
    return told.value


def test_an_installation_asks_for_consent_unless_it_is_told_not_to() -> None:
    assert ApiSettings.model_fields["avatar_consent_required"].default is True


def test_without_consent_nothing_is_taken_where_it_is_asked_for() -> None:
    told = refused(consent_required=True)
    assert (told.code, told.param) == ("consent.required", "consent")
    assert "consent=true" in told.message
    assert upload(("consent", "true"), consent_required=True).consent
    assert upload(("consent", "true")).consent
    assert not upload().consent


@pytest.mark.parametrize("said", ["", "false", "True", "true ", "1", "yes", "true\x00", "ｔｒｕｅ", "\u202etrue"])
@pytest.mark.parametrize("required", [True, False])
def test_consent_is_said_in_one_way(said: str, required: bool) -> None:
    """What may have meant no is no yes."""
    assert refused(("consent", said), consent_required=required).code == "consent.invalid"


def test_consent_is_no_file() -> None:
    assert refused(("consent", UploadFile(io.BytesIO(b"true")))).code == "consent.invalid_type"


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("blur", Background("blur")),
        ("green", Background("colour", "#00b140")),
        ("#20304A", Background("colour", "#20304a")),
    ],
)
def test_backgrounds(said: str, taken: Background) -> None:
    assert upload(("background", said)).background == taken


@pytest.mark.parametrize(
    "said", ["", "Blur", "red", "#fff", "#20304a\n", "#２０３０４ａ", "image", "a" * 64, "../../x", "http://x/y.png"]
)
def test_a_background_is_no_name_of_anything_stored(said: str) -> None:
    """Least of all of what another account has stored."""
    assert refused(("background", said)).code == "background.invalid"


def test_shapes() -> None:
    assert (upload().shape, upload(("shape", "portrait")).shape) == ("square", "portrait")
    assert refused(("shape", "tall")).code == "shape.invalid"
