"""What may be uploaded, and what it becomes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from faces.portrait import BadImage, decode, normalise
from tests import portraits

pytestmark = pytest.mark.unit

RED = Image.new("RGB", (400, 300), "red")


def looks(data: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pixels = decode(data)
    assert pixels.dtype == np.uint8
    return pixels.shape, tuple(int(v) for v in pixels[5, 5])


def test_kinds_of_pictures() -> None:
    assert looks(portraits.file(RED)) == ((300, 400, 3), (255, 0, 0))
    shape, (red, green, blue) = looks(portraits.file(RED.convert("CMYK"), "JPEG"))
    assert shape == (300, 400, 3)
    assert red > 220
    assert max(green, blue) < 40
    assert looks(portraits.file(RED.convert("P")))[1] == (255, 0, 0)
    assert looks(portraits.file(RED.convert("L")))[1] == (76, 76, 76)
    assert looks(portraits.file(RED.convert("1", dither=Image.Dither.NONE)))[0] == (300, 400, 3)
    clear = Image.new("RGBA", (300, 300), (255, 0, 0, 0))
    assert looks(portraits.file(clear))[1] == (255, 255, 255)
    deep = Image.fromarray(np.full((300, 300), 40_000, np.uint16))
    assert looks(portraits.file(deep))[1] == (155, 155, 155)


def test_it_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # 90° clockwise
    assert looks(portraits.file(RED, "JPEG", exif=exif))[0] == (400, 300, 3)


def test_the_first_of_several_frames() -> None:
    animated = portraits.file(RED, save_all=True, append_images=[Image.new("RGB", (400, 300), "blue")])
    assert looks(animated)[1] == (255, 0, 0)


@pytest.mark.parametrize("cut", [8, 20, 60, 500])
def test_a_broken_file_is_told(cut: int) -> None:
    whole = portraits.file(portraits.noise())
    for data in (whole[:cut], whole[:cut] + bytes(200) + whole[cut + 200 :]):
        with pytest.raises(BadImage):
            decode(data)


def test_what_is_kept_has_no_metadata_and_a_bounded_size() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    png, scale = normalise(portraits.file(RED.resize((4096, 3072)), "JPEG", exif=exif), "av_1")
    kept = Image.open(io.BytesIO(png))
    assert (kept.format, kept.size, scale) == ("PNG", (2048, 1536), 0.5)
    assert kept.info == {"avatar": "av_1"}
    assert normalise(portraits.file(RED), "av_1")[0] != normalise(portraits.file(RED), "av_2")[0]


def test_what_would_be_too_narrow_when_it_is_kept_is_refused_at_once() -> None:
    """Else it is accepted, and its build fails with numbers that nobody has sent."""
    with pytest.raises(BadImage, match="3000 × 300 pixels; its long side may be at most 8 times"):
        normalise(portraits.file(Image.new("RGB", (3000, 300))), "av_1")
