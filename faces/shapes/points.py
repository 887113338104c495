"""Which of the 468 points are what; left to right as the viewer sees it."""

from __future__ import annotations

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The face's outline, clockwise from the forehead."""

CORNERS = 78, 308
UPPER_INNER = 191, 80, 81, 82, 13, 312, 311, 310, 415
LOWER_INNER = 95, 88, 178, 87, 14, 317, 402, 318, 324
"""The edges of the lips between the inner corners, each upper point above its lower one."""
UPPER_LIP = (
    61,
    185,
    40,
    39,
    37,
    0,
    267,
    269,
    270,
    409,
    291,
    76,
    184,
    74,
    73,
    72,
    11,
    302,
    303,
    304,
    408,
    306,
    62,
    183,
    42,
    41,
    38,
    12,
    268,
    271,
    272,
    407,
    292,
)
LOWER_LIP = (
    146,
    91,
    181,
    84,
    17,
    314,
    405,
    321,
    375,
    77,
    90,
    180,
    85,
    16,
    315,
    404,
    320,
    307,
    96,
    89,
    179,
    86,
    15,
    316,
    403,
    319,
    325,
)
RINGS = (
    (78, *UPPER_INNER, 308), (78, *LOWER_INNER, 308),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292), (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306), (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291), (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)  # fmt: skip
"""Lines along the lips from corner to corner, from their edges outwards, the upper one first of two."""
LIPS = tuple(sorted({*CORNERS, *UPPER_INNER, *LOWER_INNER, *UPPER_LIP, *LOWER_LIP}))
MOUTH = 61, 291
CHIN = 152

EYE_LEFT_UPPER = 33, 246, 161, 160, 159, 158, 157, 173, 133
EYE_LEFT_LOWER = 33, 7, 163, 144, 145, 153, 154, 155, 133
EYE_RIGHT_UPPER = 362, 398, 384, 385, 386, 387, 388, 466, 263
EYE_RIGHT_LOWER = 362, 382, 381, 380, 374, 373, 390, 249, 263
"""The rims of the eyes, as the viewer has them."""
CREASE_LEFT = 247, 30, 29, 27, 28, 56, 190
CREASE_RIGHT = 414, 286, 258, 257, 259, 260, 467
NOSTRIL_LEFT, NOSTRIL_RIGHT = (20, 242, 141), (370, 462, 250)
SIDES = (
    (EYE_LEFT_UPPER, EYE_RIGHT_UPPER), (EYE_LEFT_LOWER, EYE_RIGHT_LOWER), (CREASE_LEFT, CREASE_RIGHT),
    (NOSTRIL_LEFT, NOSTRIL_RIGHT),
)  # fmt: skip
"""Lines of both sides, each from the viewer's left to the right, so that the first of one is the last of the other."""
BROW_LEFT = 46, 53, 52, 65, 55, 70, 63, 105, 66, 107
BROW_RIGHT = 276, 283, 282, 295, 285, 300, 293, 334, 296, 336
