"""From a pose to the weights of a rig's shapes and the turns of its head."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from faces.motion import Pose
from faces.pixels import Values
from faces.rig import Rig

YAW, PITCH, ROLL = radians(8.0), radians(5.0), radians(3.0)
"""Of a whole unit."""
MOST_OPEN = 0.40
"""Gap of the widest opening, in mouth widths."""
_MIDDLE = slice(15, 18)


class Weights:
    """What one rig's shapes must weigh, so that its lips are as far apart as a pose says."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        parted = (rig.mouth.below - rig.mouth.above)[:, _MIDDLE, 1].mean(axis=1)
        self._parted = parted
        self._jaw = float(max(parted[rig.index["jawOpen"]], 1e-6))

    def __call__(self, pose: Pose) -> Values:
        """[shapes]."""
        rig, a, r = self._rig, min(max(pose.aperture, 0.0), 1.0), min(max(pose.roundness, 0.0), 1.0)
        on_teeth, tongue, pressed = pose.on_teeth, pose.tongue, pose.pressed
        said = {
            "mouthPucker": r * (1.7 - 0.8 * a) + 0.2 * a * (1 - r),
            "mouthFunnel": r * min(0.5, 1.4 * a),
            "mouthUpperUp": 0.22 * a * (1 - r) + 0.35 * on_teeth,
            "mouthLowerDown": 0.30 * a * (1 - 0.6 * r) - 0.15 * on_teeth,
            "mouthSmile": max(0.0, pose.smile) * (1 - 0.5 * r),
            "mouthFrown": max(0.0, -pose.smile) * (1 - 0.5 * r),
            "mouthRollLower": 0.45 * pressed + 0.5 * on_teeth,
            "mouthRollUpper": 0.45 * pressed,
            "mouthPress": 0.3 * pressed,
            "browInnerUp": 0.55 * max(0.0, pose.brow) + 0.8 * pose.worry,
            "browOuterUp": 0.4 * max(0.0, pose.brow),
            "browDown": max(0.0, -pose.brow) + 0.15 * pose.worry,
            "cheekSquint": 0.45 * max(0.0, pose.smile),
            "eyeSquint": 0.3 * max(0.0, pose.smile),
        }
        weights = np.zeros(len(rig.names))
        for name, value in said.items():
            weights[rig.index[name]] = value
        wanted = (MOST_OPEN * a * (1 + 0.35 * r) + 0.05 * on_teeth + 0.09 * tongue) * rig.mouth_width
        weights[rig.index["jawOpen"]] = max(0.0, (wanted - weights @ self._parted) / self._jaw)
        return weights.astype(np.float32)


def lean(pose: Pose) -> Values:
    """[2, 3]: the first two rows of the head's rotation less the identity; x right, y down, z towards the viewer."""
    yaw, pitch, roll = YAW * pose.yaw, PITCH * pose.pitch, ROLL * pose.roll
    cy, sy, cp, sp, cr, sr = cos(yaw), sin(yaw), cos(pitch), sin(pitch), cos(roll), sin(roll)
    # About the vertical after a nod, then about the line of sight.
    x, y = (cy, -sy * sp, sy * cp), (0.0, cp, sp)
    rows = [cr * a - sr * b for a, b in zip(x, y, strict=True)], [sr * a + cr * b for a, b in zip(x, y, strict=True)]
    rows[0][0] -= 1
    rows[1][1] -= 1
    return np.array(rows, np.float32)
