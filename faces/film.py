"""A face that speaks a recording, as a video file that says what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import av
import numpy as np
from numpy.typing import NDArray

from faces.face import SIDE, Face
from faces.hearing import RATE, TICK
from faces.label import Lettering
from faces.mark.embed import KeyPatterns, Marker
from faces.mark.keys import MarkKey
from faces.neural import NeuralRenderer
from faces.visemes import FPS
from schemas.ids import FILE, new_id
from schemas.labels import Label
from schemas.moods import Mood

Pcm = NDArray[np.int16]

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
"""IPTC's term for what is put together of captured and synthetic elements: a portrait and a movement made by a net."""
COMMENT = "Synthetic: a portrait moved by software to speak this recording (Greenroom)."
_XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")
"""Where an MP4 has its XMP: Adobe, XMP Specification Part 3, 1.2.7."""
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" Iptc4xmpExt:DigitalSourceType="{SOURCE}" dc:identifier="@ID@">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{COMMENT}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def frames(
    renderer: NeuralRenderer, face: Face, width: int, pcm: Pcm, seed: int = 1, mood: Mood = "neutral"
) -> Iterator[NDArray[np.uint8]]:
    """One I420 frame for each 40 ms of `pcm` (int16 mono 48 kHz), the last one padded with silence."""
    stream = renderer.open(face, width, seed)
    stream.cue(mood, False)
    count = -(-len(pcm) // TICK)
    padded = np.pad(pcm, (0, (count + 1) * TICK - len(pcm)))
    for i in range(count + 1):
        stream.push(padded[i * TICK : (i + 1) * TICK])
        (frame,) = renderer.step([stream])
        if frame is not None:
            yield frame


def render(
    renderer: NeuralRenderer,
    face: Face,
    width: int,
    pcm: Pcm,
    path: Path,
    tell: Callable[[int, int], None],
    label: Label | None = None,
    seed: int = 1,
    mood: Mood = "neutral",
    key: MarkKey | None = None,
) -> str:
    """Write an mp4 (H.264, AAC) that carries IPTC's DigitalSourceType, a comment and an id, which is returned. With a
    `key` its frames are marked with the tag of that id. Raises av.error.FFmpegError, OSError."""
    count, height, file_id = -(-len(pcm) // TICK), face.height * width // SIDE, new_id(FILE)
    lettering = Lettering(label, width, height) if label is not None else None
    marker = Marker(KeyPatterns(key, key.tag(file_id)), width, height) if key is not None else None
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["comment"] = f"{COMMENT} {file_id}"
        video = container.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for i, picture in enumerate(frames(renderer, face, width, pcm, seed, mood)):
            if lettering is not None:
                picture = np.frombuffer(lettering.on(picture.tobytes()), np.uint8)
            if marker is not None:
                picture = np.frombuffer(marker.mark(picture.tobytes(), i), np.uint8)
            shown = av.VideoFrame.from_ndarray(picture.reshape(height * 3 // 2, width), format="yuv420p")
            shown.pts, shown.time_base = i, Fraction(1, FPS)
            container.mux(video.encode(shown))
            piece = pcm[i * TICK : (i + 1) * TICK]
            sound = av.AudioFrame.from_ndarray(np.pad(piece, (0, TICK - len(piece)))[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, i * TICK, Fraction(1, RATE)
            container.mux(audio.encode(sound))
            tell(i + 1, count)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    _say_what_it_is(path, file_id)
    return file_id


def _say_what_it_is(path: Path, file_id: str) -> None:
    """A box behind all others. The muxer has no place for XMP, and no other field of an MP4 is IPTC's."""
    packet = _XMP.replace("@ID@", file_id).encode()
    with path.open("ab") as file:
        file.write((24 + len(packet)).to_bytes(4, "big") + b"uuid" + _XMP_BOX.bytes + packet)
