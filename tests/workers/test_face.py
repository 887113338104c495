"""What a session's face shows beside the face itself."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.avatars import Shape
from schemas.labels import Label
from tests.builders import task
from workers.lease import boottime
from workers.messages import AttemptLimits, Start
from workers.playback import TICK_SAMPLES
from workers.renderers import format_of
from workers.session import _face

pytestmark = pytest.mark.unit

SILENCE = np.zeros(TICK_SAMPLES, np.int16)


@pytest.mark.parametrize("shape", ["square", "portrait"])
async def test_a_label_is_on_each_frame_that_leaves_for_the_room(shape: Shape) -> None:
    frame = format_of("mock", shape)
    assert (frame.height > frame.width) is (shape == "portrait")

    async def luma(label: Label | None) -> list[bytes]:
        start = Start(task(shape=shape, label=label), 1, "wrk_1", boottime(), AttemptLimits(1, 1, 1, 1))
        face = _face(start, frame)
        await face.open()
        assert (face.lookahead, face.lost) == (0, False)
        shown = [await face.show(SILENCE) for _ in range(3)]
        face.clear()
        face.close()
        assert all(len(each) == frame.width * frame.height * 3 // 2 for each in shown)
        return shown

    for plain, labelled in zip(await luma(None), await luma(Label("AI-generated", "top-left")), strict=True):
        rows = np.nonzero(
            (np.frombuffer(plain, np.uint8) != np.frombuffer(labelled, np.uint8))[: frame.width * frame.height]
        )[0]
        assert 0 < len(rows) < 0.1 * frame.width * frame.height
        assert rows.max() < 0.2 * frame.width * frame.width
