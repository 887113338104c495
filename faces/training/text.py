"""Sentences to be spoken: drawn from word lists, with made-up words among them, so that every sound meets every
other."""

from __future__ import annotations

import random
from pathlib import Path

_ONSETS = "b bl br ch d dr f fl fr g gl gr h j k kl kr l m n p pl pr r s sh sk sl sm sn sp st sw t th tr v w y z"
_CORES = "a e i o u ee oo ai ay ow oy ar er or ea ou aw igh oa"
_CODAS = "b ch d f g k l m n p r s sh t th v z mp nd nk nt st lp lf ft ng"


def _lists() -> dict[str, list[str]]:
    found = {}
    for line in (Path(__file__).parent / "words.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, words = line.split(":", 1)
            found[name] = [w.strip() for w in words.split("|")] if "|" in words else words.split()
    return found


class Sentences:
    """An endless, seeded supply."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._lists = _lists()

    def __call__(self) -> str:
        pick = self._random
        kind = pick.random()
        if kind < 0.2:
            text = pick.choice(self._lists["phrases"])
        elif kind < 0.4:
            text = " ".join(self._made_up() for _ in range(pick.randint(3, 8)))
        elif kind < 0.5:
            text = ", ".join(pick.choice(self._lists["things"]) for _ in range(pick.randint(2, 6)))
        else:
            text = self._clause()
            if pick.random() < 0.5:
                text += pick.choice([", and ", ", but ", " because ", ". "]) + self._clause()
        if pick.random() < 0.15:
            text = f"{pick.choice(self._lists['openers'])}, {text}"
        return text + pick.choice("...?!")

    def _clause(self) -> str:
        pick, lists = self._random, self._lists
        who = pick.choice(lists["names"]) if pick.random() < 0.4 else f"the {self._noun('persons')}"
        words = [who, pick.choice(lists["verbs"]), pick.choice(["the", "a", "my", "your", "this", "some", "both"])]
        words.append(self._noun("things"))
        if pick.random() < 0.5:
            words += [pick.choice(lists["prepositions"]), "the", self._noun("things")]
        if pick.random() < 0.4:
            words.append(pick.choice(lists["adverbs"]))
        return " ".join(words)

    def _noun(self, kind: str) -> str:
        noun = self._random.choice(self._lists[kind])
        return f"{self._random.choice(self._lists['adjectives'])} {noun}" if self._random.random() < 0.5 else noun

    def _made_up(self) -> str:
        pick = self._random
        return "".join(
            pick.choice(_ONSETS.split())
            + pick.choice(_CORES.split())
            + (pick.choice(_CODAS.split()) if pick.random() < 0.6 else "")
            for _ in range(pick.choice([1, 1, 2]))
        )
