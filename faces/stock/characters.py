"""What differs between the stock characters: colours and shapes, on a square of 1000."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colours:
    skin: str
    shade: str
    light: str
    blush: str
    lip: str
    lip_dark: str
    hair: str
    hair_dark: str
    hair_light: str
    iris: str
    iris_dark: str
    shirt: str
    shirt_dark: str
    shirt_light: str
    back_top: str
    back_bottom: str


@dataclass(frozen=True)
class Character:
    """What differs between the drawings; the rig's landmarks are the same for all (`LANDMARKS`)."""

    name: str
    colours: Colours
    back_hair: str
    front_hair: str
    strands: str
    brow: str
    brow_width: float
    jaw: float
    lips: float
    lashes: float
    collar: str
    extras: str = ""


DEMO = Character(
    name="av_demo",
    colours=Colours(
        skin="#e9b48f",
        shade="#cf8f6c",
        light="#f6cfae",
        blush="#e38a75",
        lip="#c8606a",
        lip_dark="#8e3644",
        hair="#4a2b25",
        hair_dark="#2b1715",
        hair_light="#7a4a3b",
        iris="#5f8a55",
        iris_dark="#2c4a2c",
        shirt="#2f7f86",
        shirt_dark="#1f5a63",
        shirt_light="#4ea3a6",
        back_top="#f3e7d6",
        back_bottom="#d9c3ac",
    ),
    back_hair="M500 78 C300 70 212 210 214 400 C214 560 196 690 236 800 C300 850 420 842 500 842 C580 842 700 850 764 800 C804 690 786 560 786 400 C788 210 700 70 500 78 Z",
    front_hair=(
        "M500 84 C350 76 262 176 262 330 C262 382 268 420 276 452 C290 392 306 352 338 318 C372 288 420 268 470 232 "
        "C520 270 600 286 650 316 C690 346 708 392 724 452 C732 420 738 382 738 330 C738 176 650 76 500 84 Z"
    ),
    strands=(
        "M468 232 C420 214 352 246 318 318 M470 230 C440 170 380 150 330 196 M474 232 C540 180 610 176 668 232 "
        "M474 234 C560 232 640 262 690 330 M300 380 C272 440 262 520 262 600 M704 380 C730 450 738 520 738 600"
    ),
    brow="M{a} 372 C{b} 352 {c} 346 {d} 366",
    brow_width=13,
    jaw=0.0,
    lips=1.0,
    lashes=1.0,
    collar="M396 792 C430 880 570 880 604 792",
)

MILO = Character(
    name="av_stock_001",
    colours=Colours(
        skin="#b97f59",
        shade="#8f5a3c",
        light="#d39b74",
        blush="#b5634a",
        lip="#9f5a4d",
        lip_dark="#5f2c2a",
        hair="#1f1a1c",
        hair_dark="#0f0c0e",
        hair_light="#453b3d",
        iris="#6b4326",
        iris_dark="#2e1a0e",
        shirt="#4b5685",
        shirt_dark="#333c63",
        shirt_light="#6f7cb0",
        back_top="#dfe8ea",
        back_bottom="#b4c6cc",
    ),
    back_hair="M500 96 C360 92 268 180 264 330 C262 380 268 420 282 450 L718 450 C732 420 738 380 736 330 C732 180 640 92 500 96 Z",
    front_hair=(
        "M264 400 C250 300 262 196 340 132 C420 74 590 66 668 128 C742 190 752 300 736 400 C730 384 728 350 716 318 "
        "C700 282 664 268 640 240 C590 262 470 276 372 240 C330 262 300 290 286 322 C274 350 270 380 264 400 Z"
    ),
    strands=(
        "M344 224 C380 160 470 130 560 140 M400 246 C450 190 540 160 640 190 M300 290 C300 230 330 180 380 150 "
        "M650 236 C690 250 712 290 720 330 M520 256 C570 220 620 200 690 220"
    ),
    brow="M{a} 370 C{b} 350 {c} 350 {d} 368",
    brow_width=19,
    jaw=1.0,
    lips=0.78,
    lashes=0.35,
    collar="M404 792 C440 850 560 850 596 792",
    extras="stubble",
)

CHARACTERS = (DEMO, MILO)
