"""How much is measured. Imports nothing heavy, so that processes are started before anybody imports torch."""

from dataclasses import dataclass
from typing import get_args

from grids.resources import Resources, Shortcut

PARTS = (*(part for part in get_args(Shortcut) if part != "memory"), "ladder")  # that can be left out
OF_SCORING = ("product", "norm", "convolutions", "casts")  # those of them that count there
OF_STEPS = tuple(part for part in PARTS if part != "convolutions")


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        backbone: a folder.
        seconds: of the shortest and of the longest clip.
        blocks: of steps, that a spread is made of.
        steps: of a block.
        limit_seconds: of all blocks of a variant, if so many steps would take longer.
        tests: test clips.
        ladder: of lengths.
        room_seconds: of audio in a batch of evaluation.
        side: of the large product.
    """

    backbone: str
    seconds: tuple[float, float] = (3.0, 6.0)
    blocks: int = 3
    steps: int = 34
    limit_seconds: float = 7.0
    tests: int = 500
    ladder: float = Resources().length_ladder
    room_seconds: float = 600.0
    side: int = 8192

    @classmethod
    def small(cls, backbone: str) -> "Scale":
        """That it runs."""
        return cls(backbone, (0.5, 1.0), steps=6, limit_seconds=2.0, tests=24, ladder=0.3, room_seconds=8.0, side=256)
