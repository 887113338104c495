"""What libraries log goes through the redacting formatter."""

from __future__ import annotations

import logging

import pytest

from schemas.logs import Redacting

pytestmark = pytest.mark.unit

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJkZXZrZXkifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"


def _formatted(message: str, *arguments: object, exc_info: BaseException | None = None) -> str:
    error = (type(exc_info), exc_info, None) if exc_info else None
    record = logging.LogRecord("livekit", logging.ERROR, __file__, 1, message, arguments, error)
    return Redacting("%(levelname)s %(name)s %(message)s").format(record)


def test_a_token_in_the_message_its_arguments_or_the_exception_is_taken_out() -> None:
    for line in (
        _formatted(f"connect to ws://127.0.0.1/rtc?access_token={TOKEN}&sdk=python failed: 401"),
        _formatted("refused: %s", TOKEN),
        _formatted("refused", exc_info=ValueError(f"bad token {TOKEN}")),
    ):
        assert TOKEN not in line
        assert "[token]" in line


def test_other_lines_stay_as_they_are() -> None:
    assert _formatted("room %s closed", "eyJ") == "ERROR livekit room eyJ closed"
