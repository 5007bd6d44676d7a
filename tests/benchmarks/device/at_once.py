"""Trainings beside each other on one device: how many an hour, and what becomes of the others when one is killed.

The functions with a `place` run in the processes of a crew, which keep what they have recorded from call to call. The
clips are 4 to 5 s long: the mean of 3 to 6 s with a third of the lengths to record, so that eight processes are soon
ready.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from functools import cache
from typing import Any

import torch

from engine.fitting import Fitting, Share, World
from engine.graphs import CudaRecorder, Graphs
from engine.inputs import collate
from engine.precision import tf32
from engine.shortcuts import Shortcuts
from grids.grid import Precision, Train
from tasks.base import Batch
from tests.benchmarks.device.arithmetic import Pace
from tests.benchmarks.device.crew import FailedError, Worker, ask_all
from tests.benchmarks.device.scale import Scale
from tests.benchmarks.device.steps import MIDDLE, SEED
from tests.benchmarks.device.work import (
    RATE,
    Noise,
    first_stages,
    keep_to,
    made_clips,
    make_learner,
    reserved_gb,
    shortcuts_without,
    synchronise,
    this_device,
    this_task,
)  # fmt: skip
from tests.engine.tape import TapeRecorder

FEWEST, MOST = 51, 102  # steps of each process in a round
KILL_STEPS, VICTIM_STEPS = 150, 3000
KILL_SECONDS = 1.0  # after the steps began


READY = ("seconds", "shapes", "recorded", "gb")  # what `ready` tells


@cache
def recordings(scale: Scale) -> Shortcuts:
    """All shortcuts, with the graphs of this process."""
    return shortcuts_without(scale, (), this_device())


def lengths(scale: Scale) -> tuple[float, float]:
    """Seconds of the shortest and of the longest clip here."""
    return MIDDLE if scale.seconds[0] < MIDDLE[0] < scale.seconds[1] else scale.seconds


def ready(scale: Scale, precision: Precision, share: float, place: int) -> dict[str, float]:
    """Keeps to a share of the memory from now on, meets every shape and records it.

    Returns:
        `seconds` that this took, imports, the GPU's context and weights included; `shapes` met, how many of them are
        `recorded`; `gb` that PyTorch holds.
    """
    start = time.monotonic()
    keep_to(share)
    clips = made_clips(scale, "ready", MOST, seconds=lengths(scale))
    stages = first_stages(this_task(scale), clips, 1, recordings(scale), SEED, 2)
    one = make_learner(scale, recordings(scale), _train(precision), SEED)
    with tf32(precision):
        one.fit(stages, SEED)
        one.evaluate({"xx": made_clips(scale, f"ready {place}", scale.tests // 4, "test", lengths(scale))})
    synchronise()
    found = (time.monotonic() - start, (len(stages) - 3) // 2, len(_graphs(scale).costs), reserved_gb())
    return dict(zip(READY, found, strict=True))


def training(scale: Scale, precision: Precision, steps: int, place: int) -> dict[str, Any]:
    """One training.

    Returns:
        `setup_seconds`; the time, on the machine's clock, at which the steps began and ended; the `losses`, exactly.
    """
    start, losses = time.monotonic(), list[torch.Tensor]()
    clips = made_clips(scale, f"training {place}", steps, seconds=lengths(scale))
    keep = lambda step, values: losses.append(values["loss"])  # noqa: E731
    one = make_learner(scale, recordings(scale), _train(precision), SEED + place, keep)
    synchronise()
    begin = time.monotonic()
    with tf32(precision):
        one.fit([clips], SEED)
    synchronise()
    return {"setup_seconds": begin - start, "begin": begin, "end": time.monotonic(),
            "losses": [float(loss).hex() for loss in losses]}  # fmt: skip


def scoring(scale: Scale, precision: Precision, place: int) -> dict[str, float]:
    """One scoring, pairs and metrics too: the time at which it began and ended."""
    tests = made_clips(scale, f"scoring {place}", scale.tests, "test", lengths(scale))
    one = make_learner(scale, recordings(scale), _train(precision), SEED)
    synchronise()
    begin = time.monotonic()
    with tf32(precision):
        found = one.evaluate({"xx": tests})
        assert found
        one.task.score(one.network, found)
    return {"begin": begin, "end": time.monotonic()}


def pace(workers: Sequence[Worker], scale: Scale, precision: Precision, seconds: float) -> Pace:
    """What a training takes with all these at once; a phase lasts from the first's begin to the last's end.

    Raises:
        FailedError: one of them failed.
    """
    count, end = len(workers), time.monotonic() + seconds
    steps = min(scale.steps * scale.blocks, max(FEWEST, MOST // count))
    trained = ask_all(workers, "at_once.training", scale, precision, steps, seconds=end - time.monotonic())
    scored = ask_all(workers, "at_once.scoring", scale, precision, seconds=end - time.monotonic())
    return Pace(
        setup_seconds=max(one["setup_seconds"] for one in trained),
        clip_seconds=_span(trained) / steps,
        test_seconds=_span(scored) / scale.tests,
        at_once=count,
    )


def kill_one(workers: Sequence[Worker], scale: Scale, precision: Precision, seconds: float) -> str:
    """Kills the last process in mid-step, with the others beside it; one line on what became of those.

    Raises:
        FailedError: something failed before the kill.
    """
    *others, victim = workers
    end, steps = time.monotonic() + seconds, min(KILL_STEPS, 4 * scale.steps)
    alone = [
        [worker.call("at_once.training", scale, precision, steps, place, seconds=end - time.monotonic())["losses"]
         for _ in range(2)]
        for place, worker in enumerate(others)
    ]  # fmt: skip
    victim.ask("at_once.training", scale, precision, VICTIM_STEPS, len(others))
    for place, worker in enumerate(others):
        worker.ask("at_once.training", scale, precision, steps, place)
    time.sleep(min(KILL_SECONDS, 0.02 * steps))
    killed = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    lines = [_after(worker, own, killed, end) for worker, own in zip(others, alone, strict=True)]
    return f"one of {len(workers)} killed, the others: {'; '.join(lines)}"


def _after(worker: Worker, alone: Sequence[Sequence[str]], killed: float, end: float) -> str:
    """What became of a process beside the killed one."""
    try:
        found = worker.answer(end - time.monotonic())
    except FailedError as error:
        return f"FAILED: {error}"
    when = "" if found["begin"] < killed < found["end"] else " (it was not in its steps at that time: not a test)"
    if found["losses"] == alone[0]:
        return f"all {len(alone[0])} losses as alone, to the bit{when}"
    first = next(n for n, pair in enumerate(zip(found["losses"], alone[0], strict=True), 1) if pair[0] != pair[1])
    known = "; alone they differ from time to time too" if alone[0] != alone[1] else ""
    return f"OTHER losses from step {first} of {len(alone[0])}{known}{when}"


def streams(scale: Scale, precision: Precision, counts: Sequence[int]) -> dict[int, float]:
    """Milliseconds a step of each of several networks, whose recorded steps go round on streams of one process.

    For the time alone: the streams share the generator that dropout draws from, so the numbers are no training's.
    """
    device, task, train, found = this_device(), this_task(scale), _train(precision), dict[int, float]()
    middle = sum(scale.seconds) / 2
    with ExitStack() as stack, tf32(precision):
        replays = []
        for number in range(max(counts)):
            clips = made_clips(scale, f"stream {number}", 1, seconds=(middle, middle + 0.001))
            graphs = Graphs(device, CudaRecorder() if device.type == "cuda" else TapeRecorder())
            one = make_learner(scale, Shortcuts(recordings(scale).kernels), train, number)
            static = stack.enter_context(graphs.lend(task, one.network, train))
            fitting = Fitting(task, one.network, train, 100, device, World(), lambda examples: None, static)
            examples = task.examples(one.network, clips, SEED, 0)
            batch = collate(Noise().arrays(clips), scale.ladder)
            labels = task.labels(one.network, examples)
            share = Share(examples, 1, True, Batch(batch.values, batch.lengths, labels, counts=batch.counts).to(device))
            for _ in range(3):
                fitting.advance(share)
            replays += [recorded.replay for recorded in static._recorded.values()]
        for count in counts:
            found[count] = _rounds(replays[:count], scale.steps, device)
    return found


def _rounds(replays: Sequence[Any], rounds: int, device: torch.device) -> float:
    """Milliseconds a step, each on a stream of its own, in turn."""
    places: list[Any] = [nullcontext() for _ in replays]
    if device.type == "cuda":
        places = [torch.cuda.stream(torch.cuda.Stream(device)) for _ in replays]
    for counted in (3, rounds):
        synchronise()
        start = time.perf_counter()
        for _ in range(counted):
            for place, replay in zip(places, replays, strict=True):
                with place:
                    replay()
        synchronise()
    return 1e3 * (time.perf_counter() - start) / rounds / len(replays)


def _graphs(scale: Scale) -> Graphs:
    graphs = recordings(scale).graphs
    assert graphs
    return graphs


def _span(parts: Sequence[dict[str, Any]]) -> float:
    return float(max(part["end"] for part in parts) - min(part["begin"] for part in parts))


def _train(precision: Precision) -> Train:
    return Train(learning_rate=RATE, batch_size=1, precision=precision)
