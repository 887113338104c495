"""The port of all renderers, and a worker without torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from faces.neural import NeuralRenderer
from tests.workers import documented
from workers import renderers
from workers.face import RenderedFace
from workers.playback import TICK_SAMPLES
from workers.render_keeper import RenderKeeper
from workers.renderers import FORMATS, Renderer, neural_missing
from workers.renderers.mock import MockRenderer

pytestmark = pytest.mark.processes


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
        assert renderer.device == "cpu"
        assert len(stream.rest()) == 256 * 256 * 3 // 2
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


async def test_the_documented_renderer_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/reference/renderers.md as an installed package, drawn by a real renderer process."""
    assert len(documented.install(tmp_path).splitlines()) <= 60
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = RenderKeeper("scope", 1, tmp_path)
    assert await process.start() == "cpu"
    try:
        face = RenderedFace(process.path, "av_demo", None, FORMATS["lite"])
        await face.open()
        loud = (20_000 * np.sin(np.arange(TICK_SAMPLES) / 20)).astype(np.int16)
        heights = []
        for pcm in (np.zeros(TICK_SAMPLES, np.int16), loud):
            luma = np.frombuffer(await face.show(pcm), np.uint8)[: 256 * 256].reshape(256, 256)
            heights.append(len(np.unique(np.nonzero(luma == 235)[0])))
        face.close()
    finally:
        await process.close()
    assert heights[0] == 1
    assert heights[1] > 50


def test_an_unknown_renderer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_WORKER_RENDERER", "scope")
    told = CliRunner().invoke(app, ["worker"])
    assert told.exit_code == 1
    assert "mock or neural" in " ".join(told.stderr.split())


@pytest.mark.parametrize("quality", ["lite", "standard", "pro", "mock"])
def test_mock_frames(quality: str) -> None:
    renderer, frame = MockRenderer(), FORMATS[quality]
    face = renderer.load("av_demo")
    quiet, loud = renderer.open(face, frame.width), renderer.open(face, frame.width)
    quiet.push(np.zeros(TICK_SAMPLES, np.int16))
    loud.push(np.full(TICK_SAMPLES, 8000, np.int16))
    still, open_mouth = renderer.step([quiet, loud])
    assert still is not None
    assert open_mouth is not None
    assert len(still) == len(open_mouth) == frame.width * frame.height * 3 // 2
    assert np.frombuffer(open_mouth, np.uint8).mean() > np.frombuffer(still, np.uint8).mean()
    loud.clear()
    assert renderer.step([quiet]) != [still]  # the clock goes on
