"""`mock`: no model. An identicon that opens with the sound, a level meter and a clock, so that every frame differs
and a viewer sees at a glance whether picture and sound belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.playback import Pcm
from workers.renderers import FPS

Plane = NDArray[np.uint8]

_DIGITS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    ":": "00000 00100 00100 00000 00100 00100 00000",
}
_GLYPHS = {
    digit: np.array([[int(pixel) for pixel in row] for row in rows.split()], np.uint8)
    for digit, rows in _DIGITS.items()
}


class Identicon:
    """The look, drawn from a name: background, identicon cells, colour."""

    def __init__(self, name: str) -> None:
        digest = hashlib.sha256(name.encode()).digest()
        half = np.array([digest[i] & 1 for i in range(15)], np.uint8).reshape(5, 3)
        self.cells: Plane = np.concatenate([half, half[:, 1::-1]], axis=1)
        self.u, self.v = 96 + digest[16] % 64, 96 + digest[17] % 64


class MockStream:
    def __init__(self, face: Identicon, width: int, height: int) -> None:
        self._face = face
        self._size = width, height
        self._count = 0
        self._level = 0.0
        self._still = self._background()

    def rest(self) -> bytes:
        return self._still.tobytes()

    def push(self, pcm: Pcm) -> None:
        rms = float(np.sqrt(np.mean(np.square(pcm.astype(np.float32))))) / 32768
        target = min(1.0, rms * 6)
        self._level = target if target > self._level else 0.6 * self._level + 0.4 * target

    def clear(self) -> None:
        self._level = 0.0

    def draw(self) -> bytes:
        width, height = self._size
        buffer = self._still.copy()
        luma = buffer[: width * height].reshape(height, width)
        self._draw_mouth(luma)
        self._draw_meter(luma)
        self._draw_clock(luma)
        self._count += 1
        return buffer.tobytes()

    def _background(self) -> Plane:
        """I420: full luma plane, then quarter-size U and V. Drawn once per stream."""
        width, height = self._size
        luma = np.tile(np.linspace(52, 28, height, dtype=np.uint8)[:, None], (1, width))
        u, v = (np.full((height // 2, width // 2), 128, np.uint8) for _ in range(2))
        cell = width // 9
        left, top = (width - 5 * cell) // 2, height // 9
        for row in range(5):
            for column in range(5):
                if self._face.cells[row, column]:
                    y, x = top + row * cell, left + column * cell
                    luma[y : y + cell - 2, x : x + cell - 2] = 168
                    u[y // 2 : (y + cell) // 2, x // 2 : (x + cell) // 2] = self._face.u
                    v[y // 2 : (y + cell) // 2, x // 2 : (x + cell) // 2] = self._face.v
        return np.concatenate([luma.ravel(), u.ravel(), v.ravel()])

    def _draw_mouth(self, luma: Plane) -> None:
        height, width = luma.shape
        centre, half_width = int(height * 0.74), width // 6
        opening = 2 + int(self._level * height * 0.07)
        luma[centre - opening : centre + opening, width // 2 - half_width : width // 2 + half_width] = 225

    def _draw_meter(self, luma: Plane) -> None:
        height, width = luma.shape
        bottom, top = int(height * 0.9), int(height * 0.1)
        filled = int((bottom - top) * self._level)
        luma[top:bottom, width - width // 16 : width - width // 32] = 64
        luma[bottom - filled : bottom, width - width // 16 : width - width // 32] = 235

    def _draw_clock(self, luma: Plane) -> None:
        height, width = luma.shape
        seconds, frame = divmod(self._count, FPS)
        text = f"{seconds // 60 % 100:02d}:{seconds % 60:02d}:{frame:02d}"
        scale = max(1, width // 128)
        y, x = int(height * 0.88), width // 16
        for letter in text:
            glyph = np.kron(_GLYPHS[letter], np.ones((scale, scale), np.uint8))
            luma[y : y + glyph.shape[0], x : x + glyph.shape[1]][glyph == 1] = 235
            x += 6 * scale


class MockRenderer:
    """Implements `workers.renderers.Renderer`; runs inside the session process."""

    lookahead_ms = 0
    device = "cpu"

    def load(self, avatar_id: str, built: bytes | None = None) -> Identicon:
        return Identicon(avatar_id)

    def open(self, face: Identicon, side: int, seed: int = 0, height: int | None = None) -> MockStream:
        return MockStream(face, side, height or side)

    def step(self, streams: Sequence[MockStream]) -> list[bytes | None]:
        return [stream.draw() for stream in streams]

    def skip(self, streams: Sequence[MockStream]) -> None:
        return
