"""What a task is: how one network is trained on clips and scored, whatever runs it.

A task is a frozen value (`task_class(options, model)`) with the members of `Task`. It knows nothing of Ray, of results
folders or of other trials. The training loop (`engine.train`) owns batches, devices, precision, distribution and time.

The life of one training, in calls:

    network = task.network(setup)                            # from setup.seed and setup.clips alone
    examples = task.examples(network, clips, seed, epoch)    # what one epoch iterates over, in order
    losses_B = task.loss(network, batch)                     # one a training example
    outputs = task.outputs(network, batch)                   # one a test clip, computed in any order and batch
    scored = task.score(network, tests)                      # all outputs of all languages at once

This module imports neither torch nor Ray.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.data.clips import Clip, Needs

if TYPE_CHECKING:
    import torch

Output = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Score:
    """One number: a trained network on one language.

    Attributes:
        language: the language scored.
        metric: what was measured.
        value: a fraction; error rates may exceed 1.
        n_test: number of items that the value rests on (clips, or pairs of clips).
        primary: whether this metric makes the matrix.
        higher_is_better: False for error rates.
        condition: "" or what differs from the plain test set (another language, a noise level).
    """

    language: str
    metric: str
    value: float
    n_test: int
    primary: bool
    higher_is_better: bool
    condition: str = ""


@dataclass(frozen=True)
class Metric:
    """A measure of a task."""

    name: str
    primary: bool = False
    higher_is_better: bool = True

    def score(self, language: str, value: float, n_test: int, condition: str = "") -> Score:
        """A score in this metric.

        Raises:
            ValueError: the value is not finite; a score that could not be computed is no score.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.name} on {language!r} is {value}: it could not be computed")
        return Score(language, self.name, float(value), n_test, self.primary, self.higher_is_better, condition)


@dataclass(frozen=True)
class Setup:
    """What a network may depend on, beside the task's options: the mixture, its clips, the seed.

    Attributes:
        mixture: of the trial.
        clips: every training clip.
        seed: of the trial.
        scored: dev and test clips, for a task to refuse what it cannot score. No weight may depend on them.
    """

    mixture: Mixture
    clips: tuple[Clip, ...]
    seed: int
    scored: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class Kernels:
    """How a network does its arithmetic on the device at hand. Only the last bits of its outputs depend on it.

    Attributes:
        product: a positional convolution is one batched matrix product.
        attention: one attention kernel on a GPU, whatever the shapes are.
        norm: the first convolution of waves and the masked norm behind it are one product.
        convolutions: in scoring, those of the feature encoder are products with channels last.
        casts: under autocast an encoder's weights are cast all at once.
    """

    product: bool = False
    attention: bool = False
    norm: bool = False
    convolutions: bool = False
    casts: bool = False


@dataclass(frozen=True)
class Example:
    """One item of training: one clip, or several that belong together (a pair), and its label."""

    clips: tuple[Clip, ...]
    label: Any = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded inputs of K clips. An example of k clips takes k rows in a row.

    Attributes:
        values: (K, T) float32 waves, 16 kHz, in [-1, 1]; or (K, T, D) outputs of a frozen part. Padding is 0.
        lengths: (K,) int64, valid positions along T.
        labels: what `Task.labels` made of the examples; empty in evaluation.
        languages: the clips' languages, in evaluation.
        counts: `lengths` once more, where the host knows them without asking the device.
    """

    values: "torch.Tensor"
    lengths: "torch.Tensor"
    labels: Mapping[str, "torch.Tensor"] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def padded(self) -> bool:
        """Whether a clip may be shorter than T."""
        return not self.counts or min(self.counts) < self.values.shape[1]

    def to(self, device: "torch.device") -> "Batch":
        """The batch on another device."""
        labels = {name: label.to(device, non_blocking=True) for name, label in self.labels.items()}
        values, lengths = (tensor.to(device, non_blocking=True) for tensor in (self.values, self.lengths))
        return Batch(values, lengths, labels, self.languages, self.counts)


@dataclass(frozen=True)
class Frozen:
    """A part of a network that never learns. What it makes of a clip is computed once and kept on disk.

    Attributes:
        key: stands for its weights and settings; equal keys, equal outputs.
        compute: batch of waves -> one array a clip, (D,) or (T, D).
    """

    key: str
    compute: Callable[[Batch], Sequence[np.ndarray]]


@runtime_checkable
class AfterStep(Protocol):
    """A part of a network that acts on its weights after each optimiser step; the training loop looks for such."""

    def after_step(self, network: Any, rate: float) -> None:
        """Called with the whole network and the step's learning rate."""


@dataclass(frozen=True)
class Tests:
    """The test set of one language with what the network made of it.

    Attributes:
        clips: the clips, in the order of the prepared store.
        outputs: one mapping of names to arrays a clip, in the same order.
        cohort: the training clips likewise, where `Needs.cohort` asks for them and there are any.
    """

    clips: tuple[Clip, ...]
    outputs: tuple[Output, ...]
    cohort: "Tests | None" = None

    def stack(self, name: str) -> np.ndarray:
        """The outputs of that name as one array, (N, ...)."""
        return np.stack([output[name] for output in self.outputs])


@dataclass(frozen=True)
class Scored:
    """The scores of one training, and the table of single predictions they were computed from.

    Attributes:
        scores: every language x metric (x condition).
        predictions: column -> values, all of one length, kept on request. It has a column `language`.
    """

    scores: tuple[Score, ...]
    predictions: Mapping[str, Sequence[Any] | np.ndarray] = field(default_factory=dict)


class Task(Protocol):
    """One way to train and to score. See the module's docstring for the order of the calls.

    A network is a `torch.nn.Module` of the task's own; nobody else looks inside.

    Attributes:
        Options: frozen dataclass of the grid's [options] table.
        options: the options of this grid.
        train: the task's own training settings; the grid's [train] overrides them.
        metrics: what it measures; exactly one is primary.

    A task whose loss asks the device for no value, and depends on nothing but tensors of the batch and the network's
    parameters and buffers, may say `recordable = True`: on a GPU its steps become CUDA graphs (`engine.graphs`). It may
    name in `padded_head` a linear layer of its network, with a bias, that gives a softmax's logits: heads of like size
    then share their graphs.
    """

    Options: ClassVar[type[Any]]
    train: ClassVar[Train]
    metrics: ClassVar[tuple[Metric, ...]]
    options: Any

    def __init__(self, options: Any, model: Model) -> None: ...

    @property
    def needs(self) -> Needs:
        """What a clip must have, and how blocks are balanced."""

    def weights_sha(self) -> str:
        """A hash of the weights that training starts from; "" if it starts from none.

        Raises:
            UserError: they are not to be had.
        """

    def check(self, clips: Sequence[Clip]) -> None:
        """Raises a `UserError` if a language's test set cannot be scored; called before anything is trained."""

    def network(self, setup: Setup) -> Any:
        """A network ready to train. Equal setups give equal weights; classes that two setups share start equal."""

    def frozen(self, network: Any) -> Frozen | None:
        """The part whose outputs take the place of the waves, or None if the whole network sees waves."""

    def examples(self, network: Any, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """One epoch over a stage's clips, in order; a function of its arguments alone."""

    def labels(self, network: Any, examples: Sequence[Example]) -> Mapping[str, "torch.Tensor"]:
        """The examples' labels as tensors, (B, ...) each."""

    def loss(self, network: Any, batch: Batch) -> "torch.Tensor":
        """(B,) losses, one an example; each independent of the other examples of the batch."""

    def outputs(self, network: Any, batch: Batch) -> Sequence[Output]:
        """What the network makes of each of K test clips; independent of the other clips of the batch."""

    def score(self, network: Any, tests: Mapping[str, Tests]) -> Scored:
        """The scores, from all outputs of all languages."""
