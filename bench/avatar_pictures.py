"""`make avatar-pictures`: the pictures of docs/concepts/avatar-model.md, of what the face does; some: ARGS="label"."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.portraits import photographs
from cli.customer import SPEECH
from faces import film, measure
from faces.backdrop import behind
from faces.face import stock
from faces.film import frames
from faces.fit import fit
from faces.label import Lettering
from faces.manners import MANNERS
from faces.motion import Pose
from faces.neural import NeuralRenderer
from faces.sound import read
from faces.stage import Stage
from faces.training import corpus, flite
from faces.training.corpus import features
from faces.training.train import run
from faces.visemes import SIX, SIX_OF, VISEMES, track
from schemas.avatars import STOCK, Background, Shape, asked_for
from schemas.labels import Label

mpl.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path("docs/pictures")
SENTENCE = "Maybe my mother would like a bowl of fresh fish soup."
SIDE = 512
_STRIP = 10


def rgb(frame: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame.reshape(side * 3 // 2, side), cv2.COLOR_YUV2RGB_I420), np.uint8)


def speaking() -> None:
    """Waveform, true and heard visemes, aperture said and seen, a strip of frames; of the voice never trained on."""
    from faces.sound import to_48k

    spoken = flite.say(SENTENCE, corpus.JUDGE)
    pcm = to_48k(spoken.pcm, spoken.rate)
    ticks = len(pcm) // 1920
    pcm = pcm[: ticks * 1920]
    truth = track(spoken.phones, ticks / 25, spoken.names)
    renderer = NeuralRenderer("cpu")
    face = stock("av_demo")
    shown = [frame.copy() for frame in frames(renderer, face, SIDE, pcm)]
    seen = np.array([measure.gap(frame, SIDE, face.landmarks) for frame in shown])
    clip = corpus.Clip(pcm, truth)
    logits, _ = run(renderer._listening.net, features([clip]).mels)
    heard = logits[0].argmax(-1).numpy()
    at = (np.arange(ticks) + 0.5) / 25

    figure = plt.figure(figsize=(12, 7.4), layout="constrained")
    grid = figure.add_gridspec(4, 1, height_ratios=[1, 1, 1.2, 1.6])
    wave, shapes, mouth, strip = (figure.add_subplot(grid[i]) for i in range(4))
    wave.plot(np.arange(0, len(pcm), 24) / 48_000, pcm[::24] / 32768, color="#666666", linewidth=0.5)
    wave.set(xlim=(0, ticks / 25), yticks=[], title=f"“{SENTENCE}”, said by a synthesiser never trained on")
    colours = plt.get_cmap("tab10")(np.arange(len(SIX)))[:, :3]
    rows = np.stack([colours[SIX_OF[truth.visemes]], colours[SIX_OF[heard]]])
    shapes.imshow(rows, aspect="auto", extent=(0, ticks / 25, 1.5, -0.5), interpolation="nearest")
    shapes.set(yticks=[0, 1], yticklabels=["said", "heard"])
    for row, labels in ((0, truth.visemes), (1, heard)):
        start = 0
        for k in range(1, ticks + 1):
            if k == ticks or labels[k] != labels[start]:
                shapes.text((start + k) / 50, row, VISEMES[labels[start]], ha="center", va="center", fontsize=6.5)
                start = k
    mouth.plot(at, truth.shapes[:, 0], color="#444444", label="aperture as said")
    mouth.plot(at, seen / max(seen.max(), 1e-6), color="#c8606a", label="mouth opening, measured on the pixels")
    mouth.set(xlim=(0, ticks / 25), xlabel="seconds", ylim=(0, 1.05))
    mouth.legend(loc="upper right", fontsize=8)
    picked = np.linspace(2, ticks - 3, _STRIP).astype(int)
    pictures = [rgb(shown[k])[110:410, 120:392] for k in picked]
    strip.imshow(np.concatenate(pictures, axis=1))
    strip.set(
        xticks=[(i + 0.5) * pictures[0].shape[1] for i in range(_STRIP)],
        xticklabels=[f"{at[k]:.2f} s" for k in picked],
        yticks=[],
    )
    figure.savefig(FOLDER / "speaking.png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def faces() -> None:
    """The stock faces, as they look when they speak or listen."""
    chosen = (
        Pose(aperture=0.4, smile=0.35, yaw=-0.5, gaze=0.3, brow=0.2), Pose(smile=0.3, yaw=0.5, gaze=-0.3, roll=0.4),
        Pose(aperture=0.25, smile=0.4, roll=-0.5, yaw=-0.3, gaze=0.2),
        Pose(aperture=0.5, smile=0.5, yaw=0.4, gaze=-0.25),
    )  # fmt: skip
    pictures = [rgb(Stage(stock(name), 720).draw([pose])[0], 720) for name, pose in zip(STOCK, chosen, strict=True)]
    small = [cv2.resize(picture[:, 40:680], (400, 450), interpolation=cv2.INTER_AREA) for picture in pictures]
    Image.fromarray(np.concatenate(small, axis=1)).save(FOLDER / "faces.jpg", quality=88)


def moods() -> None:
    """Each mood on three faces: the expression into which a face eases."""
    built = [stock("av_demo"), stock("av_stock_002"), *[fit(np.asarray(p)) for p in photographs().values()][-1:]]
    rows = []
    for face in built:
        poses = [Pose(smile=m.smile, brow=m.brow, worry=m.worry, roll=m.tilt) for m in MANNERS.values()]
        drawn = [rgb(frame)[30:430, 76:436] for frame in Stage(face, SIDE).draw(poses)]
        rows.append(np.concatenate([cv2.resize(p, (225, 250), interpolation=cv2.INTER_AREA) for p in drawn], axis=1))
    figure = Image.new("RGB", (rows[0].shape[1], 250 * len(rows) + 22), "white")
    figure.paste(Image.fromarray(np.concatenate(rows)), (0, 22))
    for i, mood in enumerate(MANNERS):
        ImageDraw.Draw(figure).text((225 * i + 8, 5), mood, fill="black")
    figure.save(FOLDER / "moods.jpg", quality=85)


def clip() -> None:
    """The stock face speaks, for who wants to see it move."""
    pcm = read(SPEECH)
    film.render(
        NeuralRenderer("cpu"),
        stock("av_demo"),
        SIDE,
        pcm,
        FOLDER / "speaking.mp4",
        lambda *_: None,
        seed=5,
        mood="warm",
    )


def moving() -> None:
    """The film once more, as a picture that moves: the README shows no films. Half the size, half the rate."""
    with av.open(str(FOLDER / "speaking.mp4")) as film_of_it:
        images = [
            Image.fromarray(frame.to_ndarray(format="rgb24")).resize((SIDE // 2, SIDE // 2))
            for frame in film_of_it.decode(video=0)
        ][::2]
    images[0].save(FOLDER / "speaking.webp", save_all=True, append_images=images[1:], duration=80, loop=0, quality=60)


def mouths() -> None:
    """The stock faces and two photographs, in some of the things that they do."""
    chosen = [
        Pose(), Pose(aperture=0.3), Pose(aperture=0.7), Pose(aperture=0.45, roundness=0.7),
        Pose(aperture=0.12, roundness=1.0), Pose(pressed=1.0), Pose(aperture=0.1, on_teeth=1.0), Pose(lid=1.0),
        Pose(yaw=1.0, gaze=0.8, smile=0.4),
    ]  # fmt: skip
    built = [fit(np.asarray(picture)) for picture in photographs().values()]
    rows = []
    for face in (*map(stock, STOCK), *built):
        pictures = [rgb(frame)[40:424, 80:432] for frame in Stage(face, SIDE).draw(chosen)]
        rows.append(np.concatenate([cv2.resize(p, (176, 192), interpolation=cv2.INTER_AREA) for p in pictures], axis=1))
    Image.fromarray(np.concatenate(rows)).save(FOLDER / "mouths.png", optimize=True)


def backgrounds() -> None:
    """Two photographs as they are and before other backgrounds, square and 9:16, with their heads turned a little."""
    pose = Pose(yaw=0.6, pitch=0.2, roll=0.3, aperture=0.25, smile=0.3)
    chosen = [None, *(asked_for(each) for each in ("blur", "green", "#d8dde6")), Background("image")]
    y, x = np.mgrid[0:1280, 0:1280].astype(np.float32) / 1280
    glow = np.exp(-((x - 0.75) ** 2 + (y - 0.2) ** 2) * 4)[..., None]
    evening = np.rint(np.array([24, 32, 58]) + glow * np.array([190, 120, 60])).clip(0, 255).astype(np.uint8)
    rows = []
    for picture in photographs().values():
        shapes: list[tuple[Shape, int]] = [("square", 288), ("portrait", 162)]
        row = []
        for shape, width in shapes:
            built = fit(np.asarray(picture), shape=shape)
            for asked in chosen:
                face = built if asked is None else behind(built, asked, evening)
                side = 512 if shape == "square" else 576
                frame = Stage(face, side).draw([pose])[0].reshape(-1, side)
                shown = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420)
                row.append(cv2.resize(shown, (width, 288), interpolation=cv2.INTER_AREA))
        rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).save(FOLDER / "backgrounds.jpg", quality=88, optimize=True)


def label() -> None:
    """The smallest frame and the usual one, with words in two corners."""
    shown = []
    for side, corner in ((256, "bottom-left"), (512, "bottom-right")):
        frame = Stage(stock("av_demo"), side).draw([Pose()])[0].tobytes()
        words = Lettering(Label("AI-generated", corner), side, side).on(frame)  # type: ignore[arg-type]
        shown.append(rgb(np.frombuffer(words, np.uint8), side))
    small = np.full((512, 264, 3), 255, np.uint8)
    small[256:, :256] = shown[0]
    Image.fromarray(np.concatenate([small, shown[1]], axis=1)).save(FOLDER / "label.png", optimize=True)


PICTURES = {each.__name__: each for each in (speaking, mouths, faces, moods, clip, moving, backgrounds, label)}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or [*PICTURES]
    for name in wanted:
        PICTURES[name]()
    print(f"Drew {', '.join(wanted)} in {FOLDER}.")
