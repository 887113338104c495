"""Persons who speak, for the judge alone: recordings in Debian's packages, with their words. Nothing learns from them.

A reader: 25 s of a LibriVox recording in `pocketsphinx-testdata` (BSD). An announcer: Allison Smith in
`asterisk-core-sounds-en-g722` (CC BY-SA 3.0), of which 11 minutes are sentences that can be aligned.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from faces import sound
from faces.hearing import RATE
from faces.training import alignment
from faces.training.alignment import Aligner, Unaligned
from faces.training.speech import Missing, Spoken

READER = Path("/usr/share/pocketsphinx/test/data/librivox")
ANNOUNCER = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
ANNOUNCED = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
_LEAST_WORDS = 5


def reader() -> list[Spoken]:
    """Five sentences of Jane Austen. Raises Missing."""
    script = READER / "transcription"
    _need(script, "pocketsphinx-testdata")
    said = re.findall(r"<s> (.*) </s> \((.*)\)", script.read_text())
    return list(_aligned((READER / f"{name}.wav", text) for text, name in said))


def announcer(seconds: float, seed: int) -> list[Spoken]:
    """As many sentences as fill the time, others for each seed; those of a few words, or with words that no dictionary
    knows, are left out. Raises Missing."""
    _need(ANNOUNCED, "asterisk-core-sounds-en asterisk-core-sounds-en-g722")
    script = gzip.decompress(ANNOUNCED.read_bytes()).decode(errors="replace")
    said = sorted(dict(re.findall(r"^([^;:\s]+):\s*([^\[\n]*)$", script, re.MULTILINE)).items())
    random.Random(seed).shuffle(said)  # noqa: S311
    long = ((ANNOUNCER / f"{name}.g722", text) for name, text in said if len(text.split()) >= _LEAST_WORDS)
    found: list[Spoken] = []
    for each in _aligned((path, text) for path, text in long if path.exists()):
        found.append(each)
        if sum(spoken.seconds for spoken in found) >= seconds:
            break
    return found


def _aligned(files: Iterable[tuple[Path, str]]) -> Iterator[Spoken]:
    aligner = Aligner()
    for path, text in files:
        pcm = sound.read(path)
        try:
            phones = aligner.align(sound.resample(pcm, RATE, alignment.RATE), text)
        except Unaligned:
            continue
        yield Spoken(pcm, RATE, phones, "flite")


def _need(path: Path, packages: str) -> None:
    if not path.exists():
        raise Missing(f"{path} is not there: make voices, or as root apt-get install {packages}")
