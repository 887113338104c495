"""Of `make judge-avatar`: what a face does with what it is told, seen by a landmark net that did not build it.

The net is mediapipe's release of the mesh; faces are built with another one's. Distances are in eye spans (from iris to
iris) unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from bench import judge_pixels
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
from schemas.avatars import STOCK

SIDE = 512
SECONDS = 30
EVERY = 3
"""Of the frames one in so many is looked at."""
_LARGE = 720
_SHUT = 0.03
"""Eye spans between lips that are taken as touching."""
_MOVED, _MOUTH = 0.12, 0.5
"""Eye spans: how far a mouth is moved for a control, and how far around it that is felt."""
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
    return {name: faces.stock(name) for name in STOCK} | built


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
    for name, face in built.items():
        seen = talk(renderer, face, pcm)
        found += [
            *_mouth(name, face, seen),
            *_fitted(name, face),
            *_teeth(name, seen),
            *_irises(name, face, seen),
        ]
        yaws = np.array([rig.angles(mesh.points)[0] for mesh in seen.meshes])
        found += [
            _within(f"yaw range in {SECONDS} s of speech, degrees, {name}", float(np.ptp(yaws)), 8.0, 15.0),
            _row(f"rigid residual while talking, pixels, {name}", _residual(seen), "<=", 1.5),
            _row(f"background: SSIM outside of the person, {name}", _background(face, seen), ">=", 0.99),
            _row(f"rest frame against the portrait, dB, {name}", _rest(face), ">=", 38.0),
        ]
    return found + _fits()


def _mouth(name: str, face: Face, seen: Talk) -> list[list[str]]:
    alike, mixed = correlation(seen.gaps, seen.told), correlation(np.roll(seen.gaps, 37), seen.told)
    still = seen.told < 1e-6
    rest = float(np.median(seen.gaps[still]))
    marks = face.landmarks
    wide = marks.mouth_width / (marks.eye_right.x - marks.eye_left.x)
    closed = measure.gap(Stage(face, SIDE).draw([Pose()])[0], SIDE, marks)  # a dark line between the lips is no gap
    gaps = (np.array([measure.gap(frame, SIDE, marks) for frame in seen.yuv]) - closed) * wide
    shut, open_ = (float((gaps[which] < _SHUT).mean()) for which in (still, seen.told > 0.3))
    by_net = float((seen.gaps[still] - rest < _SHUT).mean())
    return [
        _row(f"lip gap against the commanded aperture, {name}", alike, ">=", 0.93),
        _control(f"… of another time, {name}", mixed, mixed < 0.8),
        _row(f"shut in silence and closures, from pixels, {name}", shut, ">=", 0.95),
        _control(f"… while it is told to open, {name}", open_, open_ < 0.5),
        _row(f"… by the net, less {rest:.3f} that it sees at rest, {name}", by_net, ">=", 0.95),
    ]


def _fitted(name: str, face: Face) -> list[list[str]]:
    picture = _at_rest(face)
    centre, width = _fit(face, picture)
    wrong, _ = _fit(face, _with_mouth_moved(picture, face))
    what = f"mouth's centre beside the judge's, {name}"
    # A drawn face's mouth is where it was drawn: what is between the two is the judge's error.
    drawn = [what, f"{centre:.3f}", "", "–"]
    return [
        drawn if name in STOCK else _row(what, centre, "<=", 0.03),
        _control(f"… of a picture whose mouth is {_MOVED:g} lower, {name}", wrong, wrong > 0.03),
        _within(f"mouth's width in the judge's, {name}", width, 0.95, 1.05),
    ]


def _fits() -> list[list[str]]:
    """Of photographs, and of what can be made of them without another person."""
    centres, widths = [], []
    for picture in photographs().values():
        for made in altered(picture):
            face = fit(np.asarray(made))
            centre, width = _fit(face, _at_rest(face))
            centres.append(centre)
            widths.append(width)
    count = len(centres)
    near, wide = sum(c <= 0.03 for c in centres), sum(0.95 <= w <= 1.05 for w in widths)
    return [
        [f"mouth's centre within 0.03, of {count} pictures", f"{near}; worst {max(centres):.3f}", *_all(near, count)],
        [
            f"mouth's width within 5 %, of {count} pictures",
            f"{wide}; {min(widths):.3f} … {max(widths):.3f}",
            *_all(wide, count),
        ],
    ]


def _all(held: int, count: int) -> tuple[str, str]:
    return "all", "yes" if held == count else "**no**"


def altered(picture: Image.Image) -> list[Image.Image]:
    small = (picture.width * 7 // 8, picture.height * 7 // 8)
    return [
        picture,
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        picture.rotate(9, resample=Image.Resampling.BICUBIC),
        picture.convert("L").convert("RGB"),
        picture.point(lambda value: value // 2),
        picture.resize(small, Image.Resampling.LANCZOS),
    ]


def _teeth(name: str, seen: Talk) -> list[list[str]]:
    """Counted in the columns of mouths that are well open."""
    single, doubled = [], []
    for pose, mesh, frame in zip(seen.poses, seen.meshes, seen.yuv, strict=True):
        if pose.aperture > 0.3:
            planes_ = judge_pixels.split(frame, SIDE)
            single.append(judge_pixels.rows_of_teeth(*planes_, mesh))
            if pose.aperture > 0.7:
                doubled.append(judge_pixels.rows_of_teeth(*judge_pixels.with_two_rows(*planes_, mesh), mesh))
    one, two = (float((np.concatenate(counts) <= 1).mean()) for counts in (single, doubled))
    return [
        _row(f"columns of the mouth with at most one row of teeth, {name}", one, ">=", 0.999),
        _control(f"… with the upper half of it below, too, {name}", two, two < 0.9),
    ]


def _irises(name: str, face: Face, seen: Talk) -> list[list[str]]:
    stage = Stage(face, SIDE)
    drawn = stage.draw([Pose(), Pose(gaze=0.8), Pose(gaze=-0.8)])
    rest = judge_pixels.split(drawn[0], SIDE)[0]
    both = ((drawn[1].astype(np.uint16) + drawn[2]) // 2).astype(np.uint8)

    def counted(frame: Pixels) -> list[int]:
        luma = judge_pixels.split(frame, SIDE)[0]
        return [judge_pixels.irises(luma, rest, face.irises[i] * SIDE) for i in (0, 1)]

    ghosts = float(np.mean(np.array(counted(both)) == 1))
    if ghosts > 0:
        return [[f"one iris in each eye, {name}", "cannot be told: two would not be seen either", "", "–"]]
    open_ = [counted(frame) for pose, frame in zip(seen.poses, seen.yuv, strict=True) if pose.lid < 0.05]
    return [
        _row(f"eyes with exactly one iris, {name}", float((np.array(open_) == 1).mean()), ">=", 1.0),
        _control(f"… of two gazes in one picture, {name}", ghosts, ghosts < 0.5),
    ]


def _row(what: str, value: float, sign: str, bar: float) -> list[str]:
    held = value >= bar if sign == ">=" else value <= bar
    return [what, f"{value:.3f}", f"{'≥' if sign == '>=' else '≤'} {bar:g}", "yes" if held else "**no**"]


def _control(what: str, value: float, fails: bool) -> list[str]:
    return [what, f"{value:.3f}", "must fail", "fails" if fails else "**no**"]


def _within(what: str, value: float, least: float, most: float) -> list[str]:
    return [what, f"{value:.3f}", f"{least:g} … {most:g}", "yes" if least <= value <= most else "**no**"]


def _at_rest(face: Face) -> Pixels:
    return shown(Stage(face, _LARGE).draw([Pose()])[0], _LARGE)


def _with_mouth_moved(picture: Pixels, face: Face) -> Pixels:
    """The control: what is around the mouth is drawn down, so that a judge that sees no mouth, but where mouths are in
    faces, would be found out."""
    middle = face.points[[61, 291], :2].mean(axis=0) * _LARGE
    span = float(np.linalg.norm(face.irises[1, 0] - face.irises[0, 0])) * _LARGE
    y, x = np.mgrid[:_LARGE, :_LARGE].astype(np.float32)
    near = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * (_MOUTH * span) ** 2))
    moved = cv2.remap(picture, x, (y - _MOVED * span * near).astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(moved, np.uint8)


def _fit(face: Face, picture: Pixels) -> tuple[float, float]:
    """How far the face's mouth is from where the judge sees it in the picture, and how wide it is in it. The judge
    looks twice, once at the mirror image: what it makes of left and right goes."""
    mesh, turned = look(picture), look(np.ascontiguousarray(picture[:, ::-1]))
    back = turned.points[[291, 61], :2] * [-1, 1] + [_LARGE, 0]
    judged = (mesh.points[[61, 291], :2] + back) / 2
    mine = face.points[[61, 291], :2] * _LARGE
    away = np.linalg.norm(mine.mean(axis=0) - judged.mean(axis=0)) / spread(mesh)
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
