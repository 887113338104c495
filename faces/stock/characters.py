"""What differs between the stock characters: colours, shapes, age, on a square of 1000."""

from __future__ import annotations

from dataclasses import dataclass

from faces.stock.strands import Hair


@dataclass(frozen=True)
class Colours:
    """`deep` is skin in the shadow of something, `lip_dark` the line between the lips; `cloth` from light to dark."""

    skin: str
    shade: str
    deep: str
    light: str
    blush: str
    lip: str
    lip_dark: str
    lip_light: str
    iris: str
    iris_dark: str
    iris_light: str
    cloth: tuple[str, str, str]
    under: str
    back: tuple[str, str, str]


@dataclass(frozen=True)
class Character:
    """`hair` and `clothes` name what `styles` and `clothes` draw. `jaw` 0…1 its width, `age` 0…1 lines of the
    face, `lips` their height, `lashes` 0…1, `brow` its thickness, `smile` in units: how far its corners are up."""

    name: str
    colours: Colours
    strands: Hair
    hair: str
    clothes: str
    stubble: bool = False
    brow_strands: Hair | None = None
    jaw: float = 0.0
    age: float = 0.0
    lips: float = 1.0
    lashes: float = 1.0
    brow: float = 11.0
    smile: float = 8.0


DEMO = Character(
    name="av_demo",
    colours=Colours(
        skin="#ecbd9c", shade="#c98a68", deep="#8f5a44", light="#fbdcc3", blush="#e2826e",
        lip="#c96a6c", lip_dark="#7c3238", lip_light="#eaa3a0",
        iris="#6f8f5e", iris_dark="#2d4027", iris_light="#b3c48a",
        cloth=("#40607a", "#2d4a63", "#1d3145"), under="#f3efe8", back=("#f4ede3", "#e3d3c0", "#c2ad97"),
    ),
    strands=Hair("#1f110c", "#3b2117", "#6a3f29", "#a06a43", "#d9a873"),
    hair="long",
    clothes="blazer",
    brow_strands=Hair("#2b1810", "#3f2618", "#5a3825", "#75503a", "#8b6550"),
    lips=1.05,
)  # fmt: skip

MILO = Character(
    name="av_stock_001",
    colours=Colours(
        skin="#c68e66", shade="#96603f", deep="#5d3623", light="#e4b48b", blush="#b9674b",
        lip="#a8645a", lip_dark="#5c2c2b", lip_light="#cf958a",
        iris="#6b4528", iris_dark="#2a170c", iris_light="#a8784a",
        cloth=("#5b6a9c", "#414d7c", "#2b345a"), under="#eef1f4", back=("#e9f0f2", "#ccdade", "#9fb3ba"),
    ),
    strands=Hair("#0b0808", "#181213", "#2a2022", "#4c3d3c", "#7c6a64"),
    hair="short",
    clothes="sweater",
    stubble=True,
    brow_strands=Hair("#0d0909", "#171112", "#241b1b", "#3a2d2c", "#4d3f3c"),
    jaw=1.0,
    lips=0.82,
    lashes=0.3,
    brow=15.0,
    age=0.12,
    smile=7.0,
)  # fmt: skip

VERA = Character(
    name="av_stock_002",
    colours=Colours(
        skin="#f0c9b0", shade="#cf9c81", deep="#9b6a58", light="#fde6d6", blush="#e39a8b",
        lip="#c0696d", lip_dark="#76343c", lip_light="#e2a5a4",
        iris="#6e8fa8", iris_dark="#2b4256", iris_light="#b6cddb",
        cloth=("#8d4553", "#6d2f3e", "#4a1d2a"), under="#f5ebe4", back=("#eef0ea", "#d5dbd1", "#aab5a8"),
    ),
    strands=Hair("#7b7a7d", "#99989c", "#bdbcbf", "#d9d8da", "#f4f3f3"),
    hair="bob",
    clothes="cardigan",
    brow_strands=Hair("#6f6a68", "#827c79", "#98928f", "#aba5a2", "#bcb7b4"),
    lips=0.82,
    lashes=0.6,
    brow=8.5,
    age=1.0,
    smile=10.0,
)  # fmt: skip

KOFI = Character(
    name="av_stock_003",
    colours=Colours(
        skin="#7d4c33", shade="#54301f", deep="#40241a", light="#a8704f", blush="#8a4530",
        lip="#8f5049", lip_dark="#5a2d2b", lip_light="#b87a70",
        iris="#4a2c18", iris_dark="#1b0e07", iris_light="#7d5230",
        cloth=("#d9a441", "#b98329", "#855a17"), under="#b98329", back=("#e4e6ee", "#c4c8d8", "#9398b0"),
    ),
    strands=Hair("#070505", "#100c0c", "#1c1616", "#332a28", "#57493f"),
    hair="coils",
    clothes="turtleneck",
    brow_strands=Hair("#080606", "#0f0b0b", "#171212", "#241c1b", "#332927"),
    jaw=0.7,
    lips=1.3,
    lashes=0.35,
    brow=13.0,
    smile=9.0,
)  # fmt: skip

CHARACTERS = (DEMO, MILO, VERA, KOFI)
