"""The port of all renderers, and a worker without torch."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from faces.neural import NeuralRenderer
from workers import renderers
from workers.renderers import Renderer, neural_missing
from workers.renderers.mock import MockRenderer

pytestmark = pytest.mark.unit


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "torch" else found(name, *rest)

    monkeypatch.setattr(renderers, "find_spec", find)


def test_both_implement_the_port() -> None:
    implementations: list[Renderer] = [MockRenderer(), NeuralRenderer("cpu")]  # mypy checks this list
    for renderer in implementations:
        face = renderer.load("av_demo", None)
        stream = renderer.open(face, 256, 1)
        frame = None
        while frame is None:
            (frame,) = renderer.step([stream])
        assert len(frame) == 256 * 256 * 3 // 2


@pytest.mark.usefixtures("without_torch")
def test_without_torch_there_is_a_sentence_with_the_command() -> None:
    missing = neural_missing()
    assert missing is not None
    assert "torch" in missing
    assert "make setup" in missing
    for command in (["render", "--audio", __file__, "--out", "x.mp4"], ["build"], ["train", "visemes"], ["demo"]):
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 1
        assert "make setup" in told.stderr


def test_with_torch_nothing_is_missing() -> None:
    assert neural_missing() is None
