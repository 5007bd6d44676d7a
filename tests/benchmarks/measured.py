"""One line of a benchmark's table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """What was measured, one value a repeat, and the bar that stands beside it, if there is one."""

    what: str
    values: list[float]
    bar: str = ""
