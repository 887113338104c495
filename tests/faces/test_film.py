"""A video file, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from cli.customer import SPEECH
from faces import film, sound
from faces.face import stock
from faces.hearing import TICK
from faces.mark.detect import Detector
from faces.mark.samples import Sampler
from faces.neural import NeuralRenderer
from schemas.labels import Label
from tests.clips import KEY

pytestmark = pytest.mark.nets

_IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


def test_a_file_says_that_it_is_synthetic(tmp_path: Path) -> None:
    """In its picture, and in its metadata as FFmpeg reads them: IPTC's term as XMP, and a comment."""
    path, told = tmp_path / "speech.mp4", list[tuple[int, int]]()
    pcm = sound.read(SPEECH)[: 20 * TICK]
    film.render(
        NeuralRenderer("cpu"),
        stock("av_demo"),
        256,
        pcm,
        path,
        lambda *done: told.append(done),
        Label("AI", "top-right"),
    )
    with av.open(str(path), options={"export_xmp": "1"}) as container:
        assert container.metadata["comment"].startswith("Synthetic")
        packet = ElementTree.fromstring(container.metadata["xmp"].strip().removeprefix("\ufeff"))
        (said,) = [node.attrib[_IPTC] for node in packet.iter() if _IPTC in node.attrib]
        assert said == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == len(told) == 20
    for frame in frames:
        corner = frame[4:30, -40:-6]
        assert np.percentile(corner, 95) > 200
        assert np.percentile(corner, 30) < 110
        assert np.percentile(frame[4:30, 6:40], 30) > 150  # the wall, where no label is


def test_a_file_is_marked_with_the_tag_of_its_id(tmp_path: Path) -> None:
    path, pcm = tmp_path / "speech.mp4", np.resize(sound.read(SPEECH), 150 * TICK)
    file_id = film.render(NeuralRenderer("cpu"), stock("av_demo"), 256, pcm, path, lambda *_: None, key=KEY)
    sampler, steps = Sampler(), []
    with av.open(str(path)) as container:
        assert container.metadata["comment"].endswith(f" {file_id}")
        for frame in container.decode(video=0):
            planes = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)[256:].reshape(2, 128, 128)
            if (step := sampler.add(float(frame.time or 0), planes)) is not None:
                steps.append(step)
    (finding,) = Detector([KEY], searches=0).look(steps).findings
    assert finding.tag == KEY.tag(file_id)
    assert finding.second == pytest.approx(finding.from_s, abs=0.5)
