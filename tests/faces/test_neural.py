"""The renderer on its own: sound in, frames out, measured on their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cli.customer import SPEECH
from faces import lips, measure, sound
from faces.face import Face, stock
from faces.hearing import HOP, TAIL, TICK, LogMel
from faces.listening import BUCKETS, Listening
from faces.neural import NeuralRenderer, NeuralStream

pytestmark = pytest.mark.nets

DEMO = stock("av_demo")
SILENCE = np.zeros(TICK, np.int16)
Frame = NDArray[np.uint8]


@pytest.fixture(scope="module")
def renderer() -> NeuralRenderer:
    return NeuralRenderer("cpu")


@pytest.fixture(scope="module")
def speech() -> NDArray[np.int16]:
    return sound.read(SPEECH)[: 100 * TICK]


def speak(renderer: NeuralRenderer, stream: NeuralStream, pcm: NDArray[np.int16]) -> list[Frame]:
    frames = []
    for at in range(0, len(pcm) - TICK + 1, TICK):
        stream.push(pcm[at : at + TICK])
        (frame,) = renderer.step([stream])
        if frame is not None:
            frames.append(frame.copy())
    return frames


def gaps(frames: list[Frame], face: Face = DEMO, side: int = 256) -> NDArray[np.float64]:
    return np.array([measure.gap(frame, side, face.landmarks) for frame in frames])


@pytest.mark.parametrize("side", [256, 512, 720])
@pytest.mark.parametrize("name", ["av_demo", "av_stock_001"])
def test_it_speaks_when_spoken_to(renderer: NeuralRenderer, speech: NDArray[np.int16], side: int, name: str) -> None:
    face = stock(name)
    stream = renderer.open(face, side, 1)
    quiet = gaps(speak(renderer, stream, np.zeros(TICK * 20, np.int16)), face, side)
    spoken = gaps(speak(renderer, stream, speech), face, side)
    assert len(quiet) == 19  # the first waits for its lookahead
    assert quiet.max() < 0.02
    assert np.quantile(spoken, 0.9) > 0.12
    loud = np.array([np.abs(speech[i : i + TICK].astype(float)).mean() for i in range(0, len(speech), TICK)])
    assert measure.correlation(spoken[1:], loud[:-1]) > 0.4


def test_streaming_hears_what_the_whole_recording_says(speech: NDArray[np.int16]) -> None:
    """The state that is carried from tick to tick loses nothing."""
    renderer = NeuralRenderer("cpu")
    stream = renderer.open(DEMO, 256, 1)
    said = []
    for at in range(0, len(speech), TICK):
        said.append(renderer._listen([stream], [speech[at : at + TICK]])[0][0])
    net = lips.load()
    pcm = torch.nn.functional.pad(torch.from_numpy(speech.astype(np.float32) / 32768), (TAIL + lips.HISTORY * HOP, 0))
    with torch.inference_mode():
        whole, _ = net(LogMel()(pcm)[None])
    assert np.allclose(np.array(said), whole.shapes[0].numpy(), atol=1e-4)


def test_a_batch_is_what_each_alone_would_be(renderer: NeuralRenderer, speech: NDArray[np.int16]) -> None:
    """In the buckets of a GPU, here filled up with one that is nobody's."""
    batched = NeuralRenderer("cpu")
    batched._listening = Listening(torch.device("cpu"), buckets=BUCKETS)
    alone = speak(renderer, renderer.open(DEMO, 256, 5), speech[: 20 * TICK])
    streams = [batched.open(DEMO, 256, 5), batched.open(stock("av_stock_001"), 512, 6), batched.open(DEMO, 256, 7)]
    together = []
    for at in range(0, 20 * TICK, TICK):
        for stream in streams:
            stream.push(speech[at : at + TICK])
        frame = batched.step(streams)[0]
        if frame is not None:
            together.append(frame.copy())
    for a, b in zip(alone, together, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1  # float sums in another order


def test_the_same_seed_lives_the_same_life_and_another_one_another(renderer: NeuralRenderer) -> None:
    def life(seed: int) -> list[Frame]:
        return speak(renderer, renderer.open(DEMO, 256, seed), np.zeros(TICK * 150, np.int16))

    one, same, other = life(1), life(1), life(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[-1], other[-1])
    luma = np.array([frame[: 256 * 256] for frame in one], np.int16)
    assert np.abs(np.diff(luma, axis=0)).max(axis=1).min() > 0  # it breathes: no two frames are equal
    eyes = luma.reshape(-1, 256, 256)[:, 95:125, 85:170]
    change = np.abs(np.diff(eyes, axis=0)).mean(axis=(1, 2))
    assert change.max() > 5 * np.median(change)  # and blinks within six seconds


def test_clear_shuts_the_mouth_at_once(renderer: NeuralRenderer, speech: NDArray[np.int16]) -> None:
    stream = renderer.open(DEMO, 256, 1)
    frames: list[Frame] = []
    open_at = None
    for at in range(0, len(speech), TICK):
        frames += speak(renderer, stream, speech[at : at + TICK])
        if frames and gaps(frames[-1:])[0] > 0.15:
            open_at = at
            break
    assert open_at is not None
    stream.push(speech[open_at + TICK : open_at + 2 * TICK])
    stream.clear()
    after = gaps(speak(renderer, stream, np.zeros(TICK * 6, np.int16)))
    assert after.max() < 0.02


@pytest.mark.parametrize(
    "pcm",
    [
        np.full(TICK * 10, 32767, np.int16),
        np.tile(np.array([32767, -32768], np.int16), TICK * 5),
        np.random.default_rng(1).integers(-32768, 32767, TICK * 10, np.int16),
        np.eye(1, TICK * 10, dtype=np.int16)[0] * 32767,
    ],
    ids=["stuck at full scale", "clipping square", "white noise", "one sample"],
)
def test_whatever_the_sound(renderer: NeuralRenderer, speech: NDArray[np.int16], pcm: NDArray[np.int16]) -> None:
    """Every frame is a portrait, and speech after it is seen as ever."""
    stream = renderer.open(DEMO, 256, 1)
    for frame in speak(renderer, stream, pcm):
        luma = frame[: 256 * 256]
        assert int(luma.min()) >= 16
        assert int(luma.max()) <= 235
    shapes = torch.tensor(renderer._listen([stream], [SILENCE])[0])
    assert torch.isfinite(shapes).all()
    assert np.quantile(gaps(speak(renderer, stream, speech)), 0.9) > 0.1


def test_only_whole_ticks_are_taken(renderer: NeuralRenderer) -> None:
    stream = renderer.open(DEMO, 256, 1)
    wrong: Any
    for wrong in (np.zeros(1919, np.int16), np.zeros(TICK, np.float32), np.zeros((TICK, 1), np.int16)):
        with pytest.raises(ValueError, match="a tick is"):
            stream.push(wrong)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_sound_of_any_rate_moves_the_same_lips(renderer: NeuralRenderer, tmp_path: Path, rate: int) -> None:
    import wave

    import av

    whole = sound.read(SPEECH)[: 100 * TICK]
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=rate)
    frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
    frame.sample_rate = 48_000
    parts = [f.to_ndarray()[0] for f in (*resampler.resample(frame), *resampler.resample(None))]
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((2, 2, rate, 0, "NONE", ""))
        file.writeframes(np.concatenate(parts).tobytes())
    again = sound.read(tmp_path / "speech.wav")
    assert abs(len(again) - len(whole)) < TICK
    length = min(len(again), len(whole)) // TICK * TICK
    one, other = (gaps(speak(renderer, renderer.open(DEMO, 256, 1), pcm[:length])) for pcm in (whole, again))
    assert measure.correlation(one, other) > 0.85
    assert abs(measure.lag(other, one)) <= 0.5


def test_what_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"RIFF, or so it says")
    for path in (tmp_path / "no.wav", tmp_path / "missing.wav"):
        with pytest.raises(sound.UnreadableSound):
            sound.read(path)
