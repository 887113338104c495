"""`greenroom train judge-speech`: what tests show to a face, each with its truth: 20 s of the voice that is never
trained on, and the reader, who is a person."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import orjson

from faces.hearing import RATE
from faces.training import corpus, recordings
from faces.training.corpus import Clip
from faces.visemes import FPS

SECONDS = 20
SEED = 4_711


def write(folder: Path) -> None:
    """`judge` and `reader`: `.flac` (16 kHz mono), and `.json` with aperture per 40 ms, 0…1, and viseme. Raises
    Missing."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "judge", corpus.make("judge", 1.0, SEED), SECONDS)
    reader = corpus.joined(recordings.reader())
    _write(folder / "reader", reader, len(reader) * corpus.CLIP_S)


def _write(path: Path, clips: list[Clip], seconds: int) -> None:
    pcm = np.concatenate([clip.pcm for clip in clips])[: seconds * RATE]
    frames = seconds * FPS
    aperture = np.concatenate([clip.truth.shapes[:, 0] for clip in clips])[:frames]
    visemes = np.concatenate([clip.truth.visemes for clip in clips])[:frames]
    with av.open(str(path.with_suffix(".flac")), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            part.pts = None
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    truth = {"aperture": [round(float(v), 3) for v in aperture], "visemes": visemes.tolist()}
    path.with_suffix(".json").write_bytes(orjson.dumps(truth) + b"\n")
