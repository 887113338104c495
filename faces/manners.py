"""What a mood changes of a face: how it rests, and how much and how often it moves."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.moods import Mood


@dataclass(frozen=True)
class Manner:
    """`smile` (negative: corners down), `brow` (negative: drawn down), `worry` (inner brows up), `tilt` of the head: at
    rest, as a `Pose` has them. Factors: `lively` of the head's turns, `beat` of nods and brows, `away` of glances
    beside the viewer, `blinks` a minute. `beam`: a smile that comes and goes after what was said."""

    smile: float = 0.0
    brow: float = 0.0
    worry: float = 0.0
    tilt: float = 0.0
    lively: float = 1.0
    beat: float = 1.0
    away: float = 1.0
    blinks: float = 16.0
    beam: float = 0.12


MANNERS: dict[Mood, Manner] = {
    "neutral": Manner(),
    "warm": Manner(smile=0.38, brow=0.1, tilt=0.25, lively=0.95, away=0.6, blinks=14, beam=0.25),
    "cheerful": Manner(smile=0.6, brow=0.22, lively=1.2, beat=1.3, blinks=18, beam=0.35),
    "serious": Manner(smile=-0.12, brow=-0.3, lively=0.7, beat=0.7, away=0.6, blinks=11, beam=0.0),
    "concerned": Manner(smile=-0.22, worry=0.75, tilt=0.4, lively=0.75, beat=0.8, away=0.5, blinks=13, beam=0.0),
}
