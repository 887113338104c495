"""The audio net in batches: as each stream alone, and as a GPU would run it, without one."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)

from cli.customer import SPEECH
from faces import sound
from faces.hearing import TICK
from faces.lips import LipNet
from faces.listening import BUCKETS, Bench, Listening, Row

pytestmark = pytest.mark.nets

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def speech() -> NDArray[np.int16]:
    return sound.read(SPEECH)


def tick(speech: NDArray[np.int16], stream: int, k: int) -> NDArray[np.int16]:
    at = (k + 11 * stream) % (len(speech) // TICK) * TICK
    return speech[at : at + TICK]


def heard(speech: NDArray[np.int16], listening: Listening, sizes: list[int], streams: int) -> list[list[list[float]]]:
    """What it says of each stream, tick by tick; in each tick streams come in batches of these sizes."""
    rows = [listening.open() for _ in range(streams)]
    said: list[list[list[float]]] = [[] for _ in rows]
    for k in range(12):
        first = 0
        for size in sizes:
            chosen = range(first, first + size)
            shapes, kinds = listening([rows[i] for i in chosen], [tick(speech, i, k) for i in chosen])
            for i, *answer in zip(chosen, shapes, kinds, strict=True):
                said[i].append([*answer[0], *answer[1]])
            first += size
        assert first == streams
    return said


def test_in_buckets_each_stream_hears_what_it_would_alone(
    speech: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that are not full, and one that is larger than any bucket; more streams than there were rows."""
    monkeypatch.setattr("faces.listening._FIRST_ROWS", 16)
    alone = heard(speech, Listening(CPU), [1] * 71, 71)
    for buckets, sizes in ((BUCKETS, [3, 1, 67]), ((4,), [71]), ((), [40, 31])):
        together = heard(speech, Listening(CPU, buckets=buckets), sizes, 71)
        assert np.abs(np.array(together) - np.array(alone)).max() < 1e-5


def test_a_row_is_free_again_and_remembers_nobody(speech: NDArray[np.int16]) -> None:
    listening = Listening(CPU)
    first = listening.open()
    fresh = listening([first], [tick(speech, 0, 5)])
    number = first.number
    listening([first], [tick(speech, 0, 6)])
    del first
    gc.collect()
    again = listening.open()
    assert again.number == number
    assert listening([again], [tick(speech, 0, 5)]) == fresh
    listening.forget(again)
    assert listening([again], [tick(speech, 0, 5)]) == fresh


def test_streams_that_are_opened_meanwhile_take_nothing_from_others(speech: NDArray[np.int16]) -> None:
    """Faces are opened in threads: more rows come while a step is under way."""
    listening, alone = Listening(CPU), heard(speech, Listening(CPU), [1], 1)[0]
    kept, stop = list[Row](), threading.Event()

    def open_more() -> None:
        while not stop.is_set() and len(kept) < 2000:
            kept.append(listening.open())

    opening = threading.Thread(target=open_more)
    row = listening.open()
    opening.start()
    try:
        said = [listening([row], [tick(speech, 0, k)]) for k in range(12)]
    finally:
        stop.set()
        opening.join()
    assert np.abs(np.array([[*a[0][0], *a[1][0]] for a in said]) - np.array(alone)).max() < 1e-5


def on_a_gpu_that_is_not_there() -> Listening:
    """In a FakeTensorMode: tensors have a device, and nothing in them."""
    with torch.device("cuda"):
        net = LipNet().eval()
    return Listening(torch.device("cuda"), net)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # PyTorch's own GRU asks for it
@pytest.mark.parametrize("size", BUCKETS)
def test_a_step_mixes_no_devices_and_waits_for_none(size: int) -> None:
    """Whoever asks a fake tensor what is in it, by `item`, `bool` or `tolist`, is told: on a GPU it would wait."""
    with FakeTensorMode(), torch.inference_mode():
        listening = on_a_gpu_that_is_not_there()
        bench = Bench(size, torch.device("cuda"))
        for buffer in (bench.rows, bench.fresh, bench.out):
            assert isinstance(buffer, FakeTensor)
            assert buffer.device.type == "cuda"
        listening.step(bench)
        assert bench.out.shape == (size, 18)


def test_what_a_step_must_not_do_is_found() -> None:
    """The test before this one can fail."""
    with FakeTensorMode(), torch.inference_mode():
        bench = Bench(2, torch.device("cuda"))
        with pytest.raises(DataDependentOutputException):
            bool((bench.out > 0).any())
        with pytest.raises(DynamicOutputShapeException):
            bench.out[bench.out > 0]
        with pytest.raises(RuntimeError, match="device"):
            bench.out.add_(torch.zeros(18))
