"""Fitting a network and computing its outputs: the arithmetic of a trial, on one device or several workers.

`Learner` asks torch.distributed, never Ray, for its rank. With k workers each step's global batch is dealt out and
gradients are weighted by the global number of examples, so that the sum is what one worker computes; test clips are
dealt out too and their outputs gathered on rank 0, because AUC, WER or BLEU are no means of shards. Batches are put
together ahead of the step, in a thread of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, islice, pairwise, takewhile
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from torch import distributed, nn

from engine.checkpoints import Checkpoints, PausedError
from engine.fitting import Fitting, Log, Share, World, generators, set_generators
from engine.inputs import Inputs, ahead, collate, epoch_batches, length_batches, rung
from engine.precision import autocast, tf32
from engine.room import Room
from engine.selection import Selection
from engine.shortcuts import Shortcuts
from grids.grid import Train
from tasks.base import Batch, Example, Output, Task, Tests
from tasks.data.clips import SAMPLE_RATE_HZ, Clip
from tasks.encoder import use_kernels

AGREE_EVERY = 10  # steps; so often do workers ask rank 0 whether a state is due


@dataclass(frozen=True)
class Fitted:
    """How a training went.

    Attributes:
        steps: optimiser steps, those before an interruption included.
        micro: examples at once, if a batch did not fit into memory; 0 if it did.
        selected: the step whose network was kept, with validation; 0 without.
    """

    steps: int
    micro: int = 0
    selected: int = 0


@dataclass(frozen=True, eq=False)
class Learner:
    """A network with what it needs to learn and to be scored.

    Attributes:
        task: says what examples, losses and outputs are.
        network: on `device`. A task without audio may have something else here, which is never called.
        inputs: what the network is fed; None for a task without audio.
        train: the training settings.
        device: where the arithmetic happens.
        world: this worker.
        room: the size of a batch of evaluation.
        log: called with each step and its loss, gradient norm and learning rate.
        shortcuts: what makes it fast on its device.
    """

    task: Task
    network: Any
    inputs: Inputs | None
    train: Train
    device: torch.device
    world: World
    room: Room
    log: Log
    shortcuts: Shortcuts = field(default_factory=Shortcuts)

    def __post_init__(self) -> None:
        use_kernels(self.network, self.shortcuts.kernels)

    def fit(
        self,
        stages: Sequence[Sequence[Clip]],
        seed: int,
        checkpoints: Checkpoints | None = None,
        dev: Mapping[str, Sequence[Clip]] | None = None,
    ) -> Fitted:
        """Trains on the stages in order, from where a kept state ends.

        Args:
            stages: clips, a stage each.
            seed: the trial's.
            checkpoints: where states are kept.
            dev: language -> clips that `Train.select_by` is measured on.

        Raises:
            FloatingPointError: the loss is not finite (names the step and the clips), or the gradient.
            PausedError: the training was asked to stop; its state is kept.
        """
        lengths = self._schedule(stages, seed)
        steps = sum(lengths)
        if not steps:
            return Fitted(0)
        self.network.train()
        with ExitStack() as stack:
            graphs, static = self.shortcuts.graphs, None
            if graphs:
                static = stack.enter_context(graphs.lend(self.task, self.network, self.train))
            fitting = Fitting(
                self.task, self.network, self.train, steps, self.device, self.world, self._training_batch, static
            )
            selected = self._take_steps(fitting, stages, lengths, seed, checkpoints, dev)
        return Fitted(fitting.step, fitting.micro, selected)

    def _take_steps(
        self,
        fitting: Fitting,
        stages: Sequence[Sequence[Clip]],
        lengths: Sequence[int],
        seed: int,
        checkpoints: Checkpoints | None,
        dev: Mapping[str, Sequence[Clip]] | None,
    ) -> int:
        """All steps that are left. Returns the one whose network was kept, with validation; else 0."""
        selection = self._selection(stages, lengths, seed) if self.train.select_by else None
        if checkpoints and (state := checkpoints.load()):
            fitting.load_state(state)
            if selection:
                selection.load_state(state["selection"])
        batches = (batch for c, length in zip(stages, lengths, strict=True) for batch in self._batches(c, seed, length))
        for share in ahead(islice(batches, fitting.step, None), self._share):
            values = fitting.advance(share)
            if selection and fitting.step in selection.ends:
                assert dev, "validation needs dev clips"
                fitting.look()  # no score of a training that has failed
                value = values[f"dev_{self.train.select_by}"] = self._dev_score(dev, stages)
                selection.offer(fitting.step, value, self.network)
            self.log(fitting.step, values)
            if checkpoints and fitting.step < sum(lengths):
                self._leave_state(fitting, checkpoints, selection)
        if not selection:
            return 0
        selection.put_back(self.network)
        return selection.step

    @torch.no_grad()
    def evaluate(self, tests: Mapping[str, Sequence[Clip]], training: Sequence[Clip] = ()) -> dict[str, Tests] | None:
        """Computes the outputs of every test clip, in batches of like length dealt out to the workers.

        Args:
            tests: language -> clips.
            training: the clips that the network learnt from; the cohort, if the task needs one.

        Returns:
            Language -> test set with outputs, on rank 0; None on the others.

        Raises:
            FloatingPointError: an output is not finite; names the clip.
        """
        if isinstance(self.network, nn.Module):
            self.network.eval()
        cohort = self._gathered(training) if self.task.needs.cohort and training else None
        found = {language: self._gathered(clips) for language, clips in tests.items()}
        self.room.give_back()
        if self.world.rank:
            return None
        return {language: replace(test, cohort=cohort) for language, test in found.items() if test}

    def _gathered(self, clips: Sequence[Clip]) -> Tests | None:
        """The clips with their outputs from all workers, on rank 0; None on the others."""
        outputs = self._own_outputs(clips)
        shards: list[Any] = [outputs]
        if self.world.size > 1:
            shards = [None] * self.world.size
            distributed.gather_object(outputs, shards if self.world.rank == 0 else None)
        if self.world.rank:
            return None
        merged = {number: output for shard in shards for number, output in shard.items()}
        return Tests(tuple(clips), tuple(merged[n] for n in range(len(clips))))

    def _dev_score(self, dev: Mapping[str, Sequence[Clip]], stages: Sequence[Sequence[Clip]]) -> float:
        """The mean over languages of `Train.select_by`, on every rank; the training draws as if nobody had looked."""
        drawn = generators()
        value: list[float] = [0.0]
        with tf32(self.train.scored_in):
            tests = self.evaluate(dev, [clip for stage in stages for clip in stage])
            if tests is not None:
                scores = self.task.score(self.network, tests).scores
                value = [fmean(s.value for s in scores if s.metric == self.train.select_by and not s.condition)]
        if self.world.size > 1:
            distributed.broadcast_object_list(value)
        self.network.train()
        set_generators(drawn)
        return value[0]

    def _own_outputs(self, clips: Sequence[Clip]) -> dict[int, Output]:
        """Number of each clip that is this worker's -> its outputs."""
        if clips:
            self.room.measure(lambda seconds: self._score_some(clips, seconds))
        every = list(length_batches([(clip,) for clip in clips], self.room.seconds, self.shortcuts.ladder))
        groups = every[self.world.rank :: self.world.size]
        outputs: dict[int, Output] = {}
        parts = [[clips[number] for number in group] for group in groups]
        for numbers, part, batch in zip(groups, parts, ahead(parts, self._batch), strict=True):
            found = self._outputs(part, batch)
            _require_finite(found, part)
            outputs |= dict(zip(numbers, found, strict=True))
        return outputs

    def _score_some(self, clips: Sequence[Clip], seconds: float) -> float:
        """Computes the outputs of the longest clips of so many seconds, for nobody. Returns the seconds, padded."""
        group = next(length_batches([(clip,) for clip in clips], seconds, self.shortcuts.ladder))
        some = [clips[number] for number in group]
        self._outputs(some, self._batch(some))
        return self._seconds(some)

    def _seconds(self, clips: Sequence[Clip]) -> float:
        """Of a batch of clips, padding included."""
        return len(clips) * max(rung(clip.length, self.shortcuts.ladder) for clip in clips) / SAMPLE_RATE_HZ

    def _outputs(self, clips: Sequence[Clip], batch: Batch) -> Sequence[Output]:
        """What the network makes of a batch; of halves of it where it does not fit into memory."""
        try:
            with autocast(self.train.scored_in, self.device):
                return self.task.outputs(self.network, batch)
        except torch.OutOfMemoryError:
            if len(clips) == 1:
                raise
        self.room.shrink(self._seconds(clips))
        self.room.give_back()
        middle = len(clips) // 2
        halves = (clips[:middle], clips[middle:])
        return [output for half in halves for output in self._outputs(half, self._batch(half))]

    def _schedule(self, stages: Sequence[Sequence[Clip]], seed: int) -> list[int]:
        """Optimiser steps a stage. With the budget "steps" the stages share them by their number of examples."""
        if self.train.budget == "steps":
            counts = [len(self.task.examples(self.network, clips, seed, 0)) for clips in stages]
            ends = [round(self.train.steps * done / max(sum(counts), 1)) for done in accumulate(counts)]
            return [end - start for start, end in pairwise([0, *ends])]
        return [sum(len(self._epoch(clips, seed, epoch)) for epoch in range(self.train.epochs)) for clips in stages]

    def _selection(self, stages: Sequence[Sequence[Clip]], lengths: Sequence[int], seed: int) -> Selection:
        """Nothing selected yet, among the ends of the last stage's epochs; the last step counts as one."""
        metric = next(metric for metric in self.task.metrics if metric.name == self.train.select_by)
        steps = sum(lengths)
        epochs = accumulate(len(self._epoch(stages[-1], seed, epoch)) for epoch in count())
        ends = takewhile(lambda end: end < steps, (steps - lengths[-1] + done for done in epochs))
        return Selection(metric, {*ends, steps})

    def _batches(self, clips: Sequence[Clip], seed: int, steps: int) -> Iterator[Sequence[Example]]:
        """So many global batches, epoch after epoch."""
        return islice((batch for epoch in count() for batch in self._epoch(clips, seed, epoch)), steps)

    def _epoch(self, clips: Sequence[Clip], seed: int, epoch: int) -> list[Sequence[Example]]:
        """The global batches of an epoch, in order."""
        examples, size = self.task.examples(self.network, clips, seed, epoch), self.train.batch_size
        if self.train.batch_seconds:
            return epoch_batches(examples, self.train.batch_seconds, seed, epoch)
        return [examples[start : start + size] for start in range(0, len(examples), size)]

    def _share(self, examples: Sequence[Example]) -> Share:
        """This worker's part of a global batch."""
        own = examples[self.world.rank :: self.world.size]
        held = own or examples[:1]
        return Share(held, len(examples), bool(own), self._training_batch(held))

    def _training_batch(self, examples: Sequence[Example]) -> Batch:
        """Inputs and labels on the device."""
        batch = self._batch([clip for example in examples for clip in example.clips])
        labels = self.task.labels(self.network, examples)
        with self._quiet():
            return Batch(batch.values, batch.lengths, labels, counts=batch.counts).to(self.device)

    def _batch(self, clips: Sequence[Clip]) -> Batch:
        """Inputs on the device; from pinned memory, so that nobody waits for the copy."""
        assert self.inputs is not None, "a task with clips has inputs"
        batch = collate(self.inputs.arrays(clips), self.shortcuts.ladder)
        batch = replace(batch, languages=tuple(clip.language for clip in clips))
        with self._quiet():
            if self.device.type == "cuda":
                batch = replace(batch, values=batch.values.pin_memory(), lengths=batch.lengths.pin_memory())
            return batch.to(self.device)

    def _quiet(self) -> AbstractContextManager[Any]:
        """While a step is recorded, no batch is put together on the device."""
        return self.shortcuts.graphs.quiet if self.shortcuts.graphs else nullcontext()

    def _leave_state(self, fitting: Fitting, checkpoints: Checkpoints, selection: Selection | None) -> None:
        """Keeps the state when that is due, by the clock of rank 0.

        Raises:
            PausedError: the training was asked to stop.
        """
        if self.world.size > 1 and fitting.step % AGREE_EVERY:
            return
        due: list[Literal["", "save", "pause"]] = [checkpoints.due() if self.world.rank == 0 else ""]
        if self.world.size > 1:
            distributed.broadcast_object_list(due)
        if not due[0]:
            return
        fitting.look()  # no state of a training that has failed
        state = fitting.state()
        if selection:
            state["selection"] = selection.state()
        if self.world.rank == 0:
            checkpoints.save(state)
        if due[0] == "pause":
            raise PausedError


def _require_finite(outputs: Sequence[Output], clips: Sequence[Clip]) -> None:
    """Raises a FloatingPointError that names the first clip with an output that is not finite."""
    for output, clip in zip(outputs, clips, strict=True):
        for name, array in output.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise FloatingPointError(f"the output {name!r} of the clip {clip.language}/{clip.name} is not finite")
