"""Uploaded pictures: is this one, and what does it show? Needs no torch; the API asks before it accepts an upload."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from faces.face import Pixels

MOST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
"""A picture is decoded only when its header promises no more: 120 MB at the most."""
LEAST_SIDE = 256
_KEPT_SIDE = 2048
_FORMATS = ["PNG", "JPEG"]


class BadImage(Exception):
    """The message says what is wrong with it, as a sentence to its sender."""


def decode(data: bytes) -> Pixels:
    """[height, width, 3] RGB: turned as its EXIF says, transparency on white, CMYK converted, only the first frame.

    Decided by content, never by name. Raises BadImage.
    """
    if len(data) > MOST_BYTES:
        raise BadImage("The image is larger than 10 MB.")
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
            image = ImageOps.exif_transpose(image)
            return np.asarray(_flat(image))
    except BadImage:
        raise
    except Exception:  # decoders raise a dozen types on what is broken: OSError, SyntaxError, struct.error, …
        raise BadImage("This is not a PNG or JPEG image that can be read.") from None


def normalise(data: bytes, mark: str) -> tuple[bytes, float]:
    """What is kept of an upload: (PNG without metadata, factor from the upload's pixels to its own). Raises BadImage.

    `mark` is written into it, so that the same picture uploaded twice is two assets and each can be removed alone.
    """
    pixels = decode(data)
    scale = min(1.0, _KEPT_SIDE / max(pixels.shape[:2]))
    image = Image.fromarray(pixels)
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    info = PngInfo()
    info.add_text("avatar", mark)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=3)
    return buffer.getvalue(), scale


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: scaled, not cut
        values = np.asarray(image, np.float32)
        return Image.fromarray((values / max(1.0, 257.0 if values.max() > 255 else 1.0)).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
