"""Of `make judge-avatar`: what a face does with what it is told, seen by a landmark net that did not build it.

The net is mediapipe's release of the mesh; faces are built with another one's. Distances are in eye spans (from iris to
iris) unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bench.portraits import photographs, shown
from faces import face as faces
from faces import landmarks, measure, rig
from faces.face import Face
from faces.fit import fit, spread
from faces.hearing import TICK
from faces.landmarks import Mesh
from faces.measure import correlation
from faces.motion import Pose
from faces.neural import NeuralRenderer
from faces.pixels import Floats, Pixels, planes
from faces.stage import Stage

SIDE = 512
SECONDS = 30
EVERY = 3
"""Of the frames one in so many is looked at."""
_JUDGE = "mediapipe"


@dataclass(frozen=True)
class Talk:
    """What was told and what was seen, frame by frame."""

    poses: list[Pose]
    meshes: list[Mesh]
    frames: list[Pixels]
    yuv: list[Pixels]

    @property
    def gaps(self) -> Floats:
        return np.array([np.linalg.norm(m.points[13, :2] - m.points[14, :2]) / spread(m) for m in self.meshes])

    @property
    def told(self) -> Floats:
        return np.array([pose.aperture for pose in self.poses])


def people() -> dict[str, Face]:
    built = {name: fit(np.asarray(picture)) for name, picture in photographs().items()}
    return {name: faces.stock(name) for name in ("av_demo", "av_stock_001")} | built


def look(picture: Pixels) -> Mesh:
    return landmarks.mesh(picture, landmarks.faces(picture)[0], package=_JUDGE)


def talk(renderer: NeuralRenderer, face: Face, pcm: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> Talk:
    stream = renderer.open(face, SIDE, seed=1)
    poses: list[Pose] = []
    for k in range(min(len(pcm) // TICK, SECONDS * 25)):
        stream.push(pcm[k * TICK : (k + 1) * TICK])
        poses += [pose for pose in renderer._poses([stream]) if pose is not None]
    poses = poses[::EVERY]
    yuv = list(Stage(face, SIDE).draw(poses))
    frames = [shown(frame) for frame in yuv]
    return Talk(poses, [look(frame) for frame in frames], frames, yuv)


def rows(renderer: NeuralRenderer, pcm: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> list[list[str]]:
    """Rows of the judge's table: what, measured, bar, held."""
    built = people()
    found: list[list[str]] = []
    for i, (name, face) in enumerate(built.items()):
        other = list(built.values())[(i + 2) % len(built)]
        seen = talk(renderer, face, pcm)
        alike, mixed = correlation(seen.gaps, seen.told), correlation(np.roll(seen.gaps, 37), seen.told)
        still = seen.told < 1e-6
        rest = float(np.median(seen.gaps[still]))
        shut = np.array([measure.gap(frame, SIDE, face.landmarks) for frame in seen.yuv])[still] < 0.03
        centre, width = _fit(face, seen.meshes[0])
        wrong, _ = _fit(other, seen.meshes[0])
        yaws = np.array([rig.angles(mesh.points)[0] for mesh in seen.meshes])
        found += [
            _row(f"lip gap against the commanded aperture, {name}", alike, ">=", 0.93),
            _control(f"… of another time, {name}", mixed, mixed < 0.8),
            _row(f"shut when it is told to, from pixels, {name}", float(shut.mean()), ">=", 0.95),
            _row(
                f"… by the net, less {rest:.3f} that it sees at rest, {name}",
                float((seen.gaps[still] - rest < 0.03).mean()),
                ">=",
                0.95,
            ),
            _row(f"mouth's centre beside the judge's, {name}", centre, "<=", 0.03),
            _control(f"… of another face's points, {name}", wrong, wrong > 0.03),
            _row(f"mouth's width in the judge's, {name}", abs(width - 1), "<=", 0.05),
            _row(f"yaw range in {SECONDS} s of speech, degrees, {name}", float(np.ptp(yaws)), ">=", 8.0),
            _row(f"rigid residual while talking, pixels, {name}", _residual(seen), "<=", 1.5),
            _row(f"background: SSIM outside of the person, {name}", _background(face, seen), ">=", 0.99),
            _row(f"rest frame against the portrait, dB, {name}", _rest(face), ">=", 38.0),
        ]
    return found


def _row(what: str, value: float, sign: str, bar: float) -> list[str]:
    held = value >= bar if sign == ">=" else value <= bar
    return [what, f"{value:.3f}", f"{'≥' if sign == '>=' else '≤'} {bar:g}", "yes" if held else "**no**"]


def _control(what: str, value: float, fails: bool) -> list[str]:
    return [what, f"{value:.3f}", "must fail", "fails" if fails else "**no**"]


def _fit(face: Face, seen: Mesh) -> tuple[float, float]:
    """How far the face's mouth is from the judge's at rest, and how wide it is in the judge's."""
    mine = face.points[[61, 291], :2] * SIDE
    judged = seen.points[[61, 291], :2]
    away = np.linalg.norm(mine.mean(axis=0) - judged.mean(axis=0)) / spread(seen)
    return float(away), float(np.linalg.norm(mine[1] - mine[0]) / np.linalg.norm(judged[1] - judged[0]))


def _residual(seen: Talk) -> float:
    """Of points that neither speech nor brows move, after the head's turn is taken away: RMS, median over frames."""
    first = seen.meshes[0].points[list(rig.RIGID)]
    left = []
    for mesh in seen.meshes:
        here = mesh.points[list(rig.RIGID)]
        known = np.column_stack([first, np.ones(len(first))])
        fitted, *_ = np.linalg.lstsq(known, here[:, :2], rcond=None)
        left.append(np.sqrt(((known @ fitted - here[:, :2]) ** 2).sum(axis=1).mean()))
    return float(np.median(left))


def _background(face: Face, seen: Talk) -> float:
    if face.matte is None:
        return float("nan")
    reach = cv2.dilate(cv2.resize(face.matte, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.ones((31, 31)))
    outside = np.asarray(reach) == 0
    first, last = (planes(frame)[0] for frame in (seen.frames[0], seen.frames[-1]))
    return float(_ssim(first, last)[outside].mean())


def _ssim(a: Floats | np.ndarray, b: Floats | np.ndarray) -> Floats:
    """Wang et al. 2004, Gaussian of 1.5."""

    def mean(values: Floats) -> Floats:
        return np.asarray(cv2.GaussianBlur(np.asarray(values, np.float64), (11, 11), 1.5))

    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 219) ** 2, (0.03 * 219) ** 2
    return (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def _rest(face: Face) -> float:
    shown_ = Stage(face, SIDE).draw([Pose()])[0][: SIDE * SIDE].reshape(SIDE, SIDE)
    portrait = np.asarray(cv2.resize(face.portrait, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    error = float(np.mean((shown_ - planes(portrait)[0]) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))
