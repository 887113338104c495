"""`greenroom train judge-speech`: 20 s of the voice that is never trained on, with its truth, for the tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import orjson

from faces.hearing import RATE
from faces.training import corpus

SECONDS = 20
SEED = 4_711


def write(folder: Path) -> None:
    """`judge.flac` (16 kHz mono) and `judge.json`: aperture per 40 ms, 0…1, and viseme. Raises Missing."""
    clips = corpus.make("judge", 1.0, SEED)
    pcm = np.concatenate([clip.pcm for clip in clips])[: SECONDS * RATE]
    frames = SECONDS * 25
    aperture = np.concatenate([clip.truth.shapes[:, 0] for clip in clips])[:frames]
    visemes = np.concatenate([clip.truth.visemes for clip in clips])[:frames]
    folder.mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "judge.flac"), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            part.pts = None
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    truth = {"aperture": [round(float(v), 3) for v in aperture], "visemes": visemes.tolist()}
    (folder / "judge.json").write_bytes(orjson.dumps(truth) + b"\n")
