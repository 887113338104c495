"""flite: speech with the end of every phoneme, as `-psdur` prints it."""

from __future__ import annotations

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from faces.training.speech import Missing, Spoken
from faces.visemes import Phone


def say(text: str, voice: str, stretch: float = 1.0, pitch_hz: int | None = None) -> Spoken:
    """`voice`: kal, kal16, awb, rms or slt. Raises Missing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch}"]
        if pitch_hz is not None:
            command += ["--setf", f"int_f0_target_mean={pitch_hz}"]
        try:
            printed = subprocess.run(
                [*command, "-t", text, "-o", str(path)], capture_output=True, text=True, timeout=60, check=True
            ).stdout
        except FileNotFoundError:
            raise Missing("flite is not installed: apt-get install flite") from None
        with wave.open(str(path)) as file:
            rate = file.getframerate()
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    # One utterance per sentence, each with its own clock, which starts again at 0.
    phones: list[Phone] = []
    base = last = 0.0
    for item in printed.split():
        name, _, end_text = item.rpartition(":")
        end = float(end_text)
        if end < last:
            base, last = base + last, 0.0
        phones.append(Phone(name, base + last, base + end))
        last = end
    return Spoken(pcm, rate, phones, "flite")


def phonemes(words: list[str]) -> list[list[str]]:
    """How each word is pronounced alone, in flite's names. Raises Missing."""
    try:
        printed = subprocess.run(
            ["flite", "-voice", "rms", "-ps", "-t", "\n\n".join(f"{w}." for w in words), "-o", "none"],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip
    except FileNotFoundError:
        raise Missing("flite is not installed: apt-get install flite") from None
    return [said.split() for said in printed.split("pau") if said.strip()]
