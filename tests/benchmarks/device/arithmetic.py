"""From what a few steps and a few clips take to the hours of a whole matrix. Nothing here runs on a device.

Start-up of a process (imports, weights, the first passes and recordings of each shape) is not in these hours: it comes
once a process, and a process trains thousands of models.
"""

from dataclasses import dataclass
from pathlib import Path

from grids.grid import Grid, load
from tasks import task_class
from tasks.data.clips import GENDERS

GRIDS = Path(__file__).parents[3] / "grids"
PAPER = {"SV": "speaker_mhubert_paper.toml", "gender": "gender_paper.toml"}


@dataclass(frozen=True)
class Workload:
    """What a grid asks for in all.

    Attributes:
        trainings: models.
        clips: that they learn from, epochs counted; at batch 1 also the steps.
        test_sets: of a language, that they are scored on.
        block: clips of one block.
    """

    trainings: int
    clips: int
    test_sets: int
    block: int


@dataclass(frozen=True)
class Pace:
    """What one of several trainings at once takes.

    Attributes:
        setup_seconds: from the clips of a trial to a network that is ready.
        clip_seconds: a training clip.
        test_seconds: a test clip.
        at_once: trainings beside each other, this one counted.
    """

    setup_seconds: float
    clip_seconds: float
    test_seconds: float
    at_once: int = 1

    def training(self, clips: int, tests: int) -> float:
        """Seconds of one training on so many clips, scored on so many."""
        return self.setup_seconds + clips * self.clip_seconds + tests * self.test_seconds

    def an_hour(self, clips: int, tests: int) -> float:
        """Trainings of that size an hour, all that run at once together."""
        return 3600 * self.at_once / self.training(clips, tests)

    def hours(self, work: Workload, tests: int) -> float:
        """Hours of a whole grid, with so many test clips a language."""
        seconds = work.trainings * self.setup_seconds + work.clips * self.clip_seconds
        return (seconds + work.test_sets * tests * self.test_seconds) / 3600 / self.at_once


def workload(grid: Grid) -> Workload:
    """Counts what a grid asks for; its languages are scored on one test set each."""
    task = task_class(grid.task)
    classes = len(GENDERS) if task(task.Options(**grid.options), grid.model).needs.classes else 1
    epochs = int(grid.train.get("epochs", task.train.epochs))
    samples = sum(sum(trial.mixture.total_samples.values()) for trial in grid.trials())
    return Workload(
        trainings=len(grid.trials()),
        clips=classes * epochs * samples,
        test_sets=sum(len(grid.evaluated(trial.mixture)) for trial in grid.trials()),
        block=classes * grid.samples,
    )


def of_the_paper() -> dict[str, Workload]:
    """The paper's two matrices that HuBERT is trained for, from their grid files."""
    return {name: workload(load(GRIDS / file)) for name, file in PAPER.items()}


@dataclass(frozen=True)
class Floor:
    """What a step of batch 1 cannot be faster than.

    Attributes:
        traffic_bytes: to and from the device's memory.
        flop: of the clip, forward and backward.
    """

    traffic_bytes: float
    flop: float

    def seconds(self, bandwidth: float, flop_a_second: float) -> float:
        """With each limit in turn, as if nothing overlapped."""
        return self.traffic_bytes / bandwidth + self.flop / flop_a_second


def floor(parameters: float, clip_seconds: float, flop_a_second_of_audio: float) -> Floor:
    """The floor of a step in fp16 with AdamW in float32, activations left out.

    AdamW reads weight, gradient and two moments and writes all but the gradient: 7 x 4 bytes a parameter. Autocast
    reads the weight (4) and writes its half (2), which forward and backward read once each (4). The backward pass
    writes a half gradient, which is read and written in 32 bits (2 + 2 + 4); taking the scale away reads and writes it
    (8); its norm and its clip read it twice and write it once (12).

    Args:
        parameters: of the network.
        clip_seconds: of audio.
        flop_a_second_of_audio: to train on.
    """
    optimiser, cast, passes, gradient, scale, clip = 28, 6, 4, 8, 8, 12
    each = optimiser + cast + passes + gradient + scale + clip
    return Floor(parameters * each, clip_seconds * flop_a_second_of_audio)
