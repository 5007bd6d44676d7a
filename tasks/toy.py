"""A task without audio or training, whose score is a known function of (target, donor, seed).

It runs the whole path (grid, trials, store, matrix) in seconds: to try out a machine or a cluster, to measure what the
engine itself costs, and to check that a planted matrix comes back. Its r is `planted_r`, plus noise that the seeds of a
mixture draw.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from grids.errors import UserError
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.base import Batch, Example, Metric, Output, Scored, Setup, Tests
from tasks.data.clips import Clip, Needs
from tasks.examples import keyed

BASE, SELF_GAIN = 0.2, 0.08


@dataclass(frozen=True)
class ToyOptions:
    """Options of the toy.

    Attributes:
        noise: standard deviation of a score over seeds.
        seconds: how long a training takes.
        fail: languages whose single training fails, to see how failures are reported.
    """

    noise: float = 0.01
    seconds: float = 0.0
    fail: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.noise < 0 or self.seconds < 0:
            raise UserError(f"noise and seconds in [options] are {self.noise} and {self.seconds}; allowed: >= 0")


def planted_r(target: str, donor: str) -> float:
    """The normalised transfer that the toy plants: 1 on the diagonal, else between -1 and 1, asymmetric."""
    return 1.0 if target == donor else keyed("toy", target, donor) / 2**63 - 1


def planted_score(mixture: Mixture, language: str, seed: int, noise: float) -> float:
    """The toy's score of a mixture on a language.

    Doubling the language's own samples is worth `SELF_GAIN`; a donor's block of that size is worth r times as much.
    """
    parts = dict(mixture.total_samples)
    own = parts.pop(language, 0)
    donors = sum(planted_r(language, donor) * math.log2(1 + count / max(own, 1)) for donor, count in parts.items())
    draw = np.random.Generator(np.random.PCG64(keyed("toy", seed, mixture, language))).normal()
    return BASE + SELF_GAIN * (math.log2(max(own, 1)) + donors) + noise * float(draw)


class Toy:
    """See the module's docstring."""

    Options: ClassVar = ToyOptions
    train: ClassVar = Train()
    metrics: ClassVar = (Metric("score", primary=True), Metric("error", higher_is_better=False))
    needs: ClassVar = Needs(audio=False)

    def __init__(self, options: ToyOptions, model: Model) -> None:
        self.options, self.model = options, model

    def weights_sha(self) -> str:
        """It has none."""
        return ""

    def check(self, clips: Sequence[Clip]) -> None:
        """It has no test clips."""

    def network(self, setup: Setup) -> Setup:
        """The setup stands for the network. Raises a RuntimeError for the languages of `fail`."""
        time.sleep(self.options.seconds)
        if setup.mixture.languages in {(code,) for code in self.options.fail}:
            raise RuntimeError(f"the toy was told to fail on {setup.mixture.languages[0]!r}")
        return setup

    def frozen(self, network: Setup) -> None:
        """No part."""

    def examples(self, network: Setup, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """None."""
        return ()

    def labels(self, network: Setup, examples: Sequence[Example]) -> Mapping[str, Any]:
        """None."""
        return {}

    def loss(self, network: Setup, batch: Batch) -> Any:
        """Never called: there are no examples."""
        raise AssertionError("the toy has no examples")

    def outputs(self, network: Setup, batch: Batch) -> Sequence[Output]:
        """Never called: there are no test clips."""
        raise AssertionError("the toy has no test clips")

    def score(self, network: Setup, tests: Mapping[str, Tests]) -> Scored:
        """The planted score, and 1 minus it, of each language."""
        scores = []
        for language in tests:
            value = planted_score(network.mixture, language, network.seed, self.options.noise)
            scores += [self.metrics[0].score(language, value, 0), self.metrics[1].score(language, 1 - value, 0)]
        return Scored(tuple(scores))
