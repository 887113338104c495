"""`python -m faces.fonts.make`: the font of labels, DejaVu Sans Bold with the letters of Europe, as matplotlib has it.
Needs the `train` extra."""

from __future__ import annotations

from pathlib import Path

from faces.label import FONT

RANGES = (
    (0x20, 0x7E),
    (0xA0, 0x17F),
    (0x218, 0x21B),
    (0x1E9E, 0x1E9E),
    (0x370, 0x3FF),
    (0x400, 0x45F),
    (0x490, 0x491),
    (0x2010, 0x2027),
    (0x2030, 0x2030),
    (0x2032, 0x2033),
    (0x2039, 0x203A),
    (0x20AC, 0x20AC),
    (0x2122, 0x2122),
    (0x2190, 0x2192),
    (0x25CF, 0x25CF),
    (0x2605, 0x2605),
    (0x26A0, 0x26A0),
)
"""Latin, Greek, Cyrillic, and some signs."""


def main() -> None:
    import matplotlib
    from fontTools import subset  # type: ignore[import-untyped]

    source = Path(matplotlib.__file__).parent / "mpl-data" / "fonts" / "ttf"
    options = subset.Options(hinting=False, layout_features=["kern", "mark", "mkmk", "ccmp"], notdef_outline=True)
    font = subset.load_font(str(source / "DejaVuSans-Bold.ttf"), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for first, last in RANGES for code in range(first, last + 1)])
    subsetter.subset(font)
    font.save(FONT)
    (FONT.parent / "LICENSE").write_bytes((source / "LICENSE_DEJAVU").read_bytes())


if __name__ == "__main__":
    main()
