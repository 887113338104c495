"""Uploaded pictures: is this one, and what does it show? Needs no torch, and numpy only to hand pixels out: the API
starts a process for each upload (`faces.decoder`)."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from faces.face import Pixels

MOST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
"""A picture is decoded only when its header promises no more."""
LEAST_SIDE = 256
MOST_KEPT_BYTES = 16 * 1024 * 1024
"""Of a normalised portrait: a file of 10 MB can become a larger one, since PNG loses nothing."""
_KEPT_SIDE = 2048
_FORMATS = ["PNG", "JPEG"]


class BadImage(Exception):
    """The message says what is wrong with it, as a sentence to its sender."""


UNREADABLE = "This is not a PNG or JPEG image that can be read."
TOO_LARGE = "This image needs too much memory to be decoded; save it as a plain PNG or baseline JPEG and send that."
TOO_SLOW = "This image takes too long to be decoded; save it as a plain PNG or baseline JPEG and send that."


def decode(data: bytes, most: int = MOST_BYTES) -> Pixels:
    """[height, width, 3] RGB: turned as its EXIF says, transparency on white, CMYK converted, only the first frame.

    Decided by content, never by name. Raises BadImage.
    """
    import numpy as np

    return np.asarray(_on_white(_opened(data, most)))


def normalise(data: bytes, mark: str) -> tuple[bytes, float]:
    """What is kept of an upload: (PNG without metadata, factor from the upload's pixels to its own). Raises BadImage.

    `mark` is written into it, so that the same picture uploaded twice is two assets and each can be removed alone.
    """
    image = _opened(data, MOST_BYTES)
    scale = min(1.0, _KEPT_SIDE / max(image.size))
    if scale < 1:  # before it is laid on white, which takes several pictures' memory
        size = round(image.width * scale), round(image.height * scale)
        if min(size) < LEAST_SIDE:
            raise BadImage(
                f"The image has {image.width} × {image.height} pixels; its long side may be at most"
                f" {_KEPT_SIDE // LEAST_SIDE} times its short one."
            )
        image = image.resize(size, Image.Resampling.LANCZOS)
    info = PngInfo()
    info.add_text("avatar", mark)
    buffer = io.BytesIO()
    _on_white(image).save(buffer, "PNG", pnginfo=info, compress_level=3)
    return buffer.getvalue(), scale


def _opened(data: bytes, most: int) -> Image.Image:
    """Upright, RGB, or RGBA where it may be transparent. Raises BadImage."""
    if len(data) > most:
        raise BadImage(f"The image is larger than {most // (1024 * 1024)} MB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits are above ours
            image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise BadImage(f"The image has {width} × {height} pixels; at most 40 million are taken.")
            if min(width, height) < LEAST_SIDE:
                raise BadImage(f"The image has {width} × {height} pixels; each side needs at least {LEAST_SIDE}.")
            image.load()
            return _plain(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except MemoryError:
        raise BadImage(TOO_LARGE) from None
    except Exception:  # decoders raise a dozen types on what is broken: OSError, SyntaxError, struct.error, …
        raise BadImage(UNREADABLE) from None


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: scaled, not cut
        _, most = image.getextrema()
        if most > 255:  # type: ignore[operator]  # of one band it is a number
            image = image.point(lambda value: value * (1 / 257))
        return image.convert("L").convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
