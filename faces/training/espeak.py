"""espeak-ng through its library: speech with the sample at which every phoneme begins."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from faces.training.speech import Missing, Spoken
from faces.visemes import Phone

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_PHONEME = 7
_END_OF_LIST = 0
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8 = 1
_IPA = 2


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """One per process: the library keeps its state in globals. Raises Missing."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            raise Missing("espeak-ng is not installed: apt-get install espeak-ng") from None
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        self._sound: list[NDArray[np.int16]] = []
        self._starts: list[tuple[int, str]] = []
        self._callback = _CALLBACK(self._hear)  # kept: the library calls it as long as it lives
        self._library.espeak_SetSynthCallback(self._callback)

    def _hear(self, wave: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        i = 0
        while events[i].type != _END_OF_LIST:
            if events[i].type == _PHONEME:
                self._starts.append((events[i].sample, events[i].id.string.decode()))
            i += 1
        if wave and count:
            self._sound.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, rate: int = 175, pitch: int = 50, spread: int = 50) -> Spoken:
        """`voice` such as `en-us+f2`; `rate` in words a minute; `pitch` and its `spread` 0…100."""
        self._sound, self._starts = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise Missing(f"espeak-ng has no voice {voice}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, spread)):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        pcm = np.concatenate(self._sound) if self._sound else np.zeros(0, np.int16)
        seconds = len(pcm) / self._rate
        starts = [(sample / self._rate, name) for sample, name in self._starts]
        ends = [start for start, _ in starts[1:]] + [seconds]
        phones = [
            Phone(name, start, end) for (start, name), end in zip(starts, ends, strict=True) if end > start and name
        ]
        return Spoken(pcm, self._rate, phones, "espeak")

    def ipa(self, text: str, voice: str) -> str:
        """How it would be said, clause by clause; the marks between clauses are those of the text."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise Missing(f"espeak-ng has no voice {voice}")
        translate = self._library.espeak_TextToPhonemes
        translate.restype = ctypes.c_char_p
        said = []
        rest = ctypes.c_char_p(text.encode())
        while rest.value:
            said.append((translate(ctypes.byref(rest), _CHARS_UTF8, _IPA) or b"").decode().strip())
        return ", ".join(clause for clause in said if clause)
