"""Batches of seconds: clips of like length together, in a drawn order, and everything else as with batches of clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.checkpoints import PausedError
from engine.cost import Audio
from engine.fitting import World
from engine.inputs import epoch_batches, length_batches
from engine.job import make_job
from engine.learner import Learner
from grids.errors import UserError
from grids.grid import Train, parse
from grids.mixture import Mixture
from tasks.base import Example
from tasks.data.clips import Clip
from tasks.examples import shuffled
from tests.engine.groups import run_group
from tests.engine.learners import CLIPS, StopsAt, gender_learner
from tests.engine.test_fitting import probabilities, with_dropout
from tests.tasks.data.hostile import plain_release
from tests.tasks.waves import make_clips

MANY = make_clips("no", "train", speakers=10, clips_each=12)  # 0.25 to 0.5 seconds each
SECONDS = 1.5
LONG = Clip("no", "long", "s", "female", "ada", "train", 0, 40_000, "0")
SETTINGS = Train(learning_rate=1e-3, batch_seconds=SECONDS, epochs=3, warmup=0.2, schedule="linear")


def padded(batch: list[Clip]) -> float:
    """Seconds of a batch with its padding."""
    return max(clip.seconds for clip in batch) * len(batch)


def clips_of(batches: Any) -> list[list[Clip]]:
    return [[clip for example in batch for clip in example.clips] for batch in batches]


def test_each_example_is_in_one_batch_of_an_epoch_and_no_batch_is_too_long() -> None:
    batches = clips_of(epoch_batches(shuffled((*MANY, LONG), 1, 0), SECONDS, 1, 0))
    assert sorted(clip.name for batch in batches for clip in batch) == sorted(clip.name for clip in (*MANY, LONG))
    assert [LONG] in batches
    assert all(padded(batch) <= SECONDS for batch in batches if batch != [LONG])
    assert len(batches) < len(MANY) / 3


def test_a_batch_is_filled_to_the_limit() -> None:
    """Four clips of a quarter of a second are a second with nothing to spare; of pairs there is room for two."""
    clips = [Clip("no", str(n), "s", "", "ada", "train", 0, 4000, "0") for n in range(8)]
    assert [len(group) for group in length_batches([(clip,) for clip in clips], 1.0)] == [4, 4]
    pairs = [Example((clips[n], clips[n + 1])) for n in range(0, 8, 2)]
    assert [len(batch) for batch in epoch_batches(pairs, 1.0, 1, 0)] == [2, 2]
    mixed = [(clips[0], Clip("no", "b", "s", "", "ada", "train", 0, 8000, "0")), (clips[1],), (clips[2],)]
    assert list(length_batches(mixed, 1.0)) == [[0], [1, 2]]


def test_the_order_of_batches_is_drawn_by_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[frozenset[str]]:
        found = clips_of(epoch_batches(shuffled(MANY, seed, epoch), SECONDS, seed, epoch))
        return [frozenset(clip.name for clip in batch) for batch in found]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)
    lengths = [max(c.length for c in batch) for batch in clips_of(epoch_batches(shuffled(MANY, 1, 0), SECONDS, 1, 0))]
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)


def test_batches_of_like_length_are_padded_less() -> None:
    examples = shuffled(MANY, 1, 0)
    like = clips_of(epoch_batches(examples, SECONDS, 1, 0))
    plain = clips_of([examples[start : start + 4] for start in range(0, len(examples), 4)])
    said = sum(clip.seconds for clip in MANY)
    shares = [1 - said / sum(map(padded, batches)) for batches in (like, plain)]
    assert 0 < shares[0] < shares[1] / 3


@pytest.mark.parametrize("stages", [[CLIPS], [CLIPS[:5], CLIPS[5:]]])
def test_the_steps_of_a_training_are_the_batches_of_its_epochs(stages: list[tuple[Clip, ...]]) -> None:
    logged: list[int] = []
    one = gender_learner(SETTINGS, lambda step, values: logged.append(step))
    batches = sum(len(epoch_batches(shuffled(stage, 1, 0), SECONDS, 1, 0)) for stage in stages)
    assert one.fit(stages, seed=1).steps == len(logged) == 3 * batches


def test_a_budget_of_steps_is_kept_and_epochs_end_where_their_batches_do() -> None:
    logged: dict[int, Any] = {}
    train = Train(batch_seconds=SECONDS, budget="steps", steps=7, select_by="accuracy")
    one = gender_learner(train, logged.__setitem__)
    assert one.fit([CLIPS], seed=1, dev={"no": make_clips("no", "dev", speakers=2, clips_each=2)}).steps == 7
    epoch = len(epoch_batches(shuffled(CLIPS, 1, 0), SECONDS, 1, 0))
    looked = [step for step, values in logged.items() if "dev_accuracy" in values]
    assert looked == sorted({*range(epoch, 7, epoch), 7})


def test_workers_share_the_batches_that_one_worker_has() -> None:
    """Each step's examples over all ranks are one worker's; the loss is their mean."""
    steps: dict[int, list[list[set[str]]]] = {}
    for size in (1, 2):
        for rank in range(size):
            one = Learner(**{**vars(gender_learner(SETTINGS)), "world": World(rank, size)})
            shares = [one._share(batch) for batch in one._batches(CLIPS, 1, 9)]
            steps.setdefault(size, []).append(
                [{e.clips[0].name for e in share.examples} if share.counts else set() for share in shares]
            )
    together = [a | b for a, b in zip(*steps[2], strict=True)]
    assert together == steps[1][0]
    assert all(not a & b for a, b in zip(*steps[2], strict=True))


@pytest.mark.parametrize("step", [1, 4])
def test_an_interrupted_training_ends_bit_identical(tmp_path: Path, step: int) -> None:
    whole, rest = with_dropout(SETTINGS), None
    whole.fit([CLIPS[:7], CLIPS[7:]], seed=1)
    with pytest.raises(PausedError):
        with_dropout(SETTINGS).fit([CLIPS[:7], CLIPS[7:]], seed=1, checkpoints=StopsAt(tmp_path / "a.pt", step))
    rest = with_dropout(SETTINGS)
    rest.fit([CLIPS[:7], CLIPS[7:]], seed=1, checkpoints=StopsAt(tmp_path / "a.pt", -1))
    assert np.array_equal(probabilities(whole), probabilities(rest))


def worker(rank: int, size: int, folder: Path) -> None:
    """One of the workers: trains, and rank 0 writes what it has."""
    one = gender_learner(SETTINGS)
    one.fit([CLIPS], seed=1)
    one.evaluate({"no": CLIPS})
    if rank == 0:
        np.save(folder / f"{size}.npy", one.network.head.weight.detach().numpy())


@pytest.mark.slow
def test_one_and_two_workers_train_the_same(tmp_path: Path) -> None:
    for size in (1, 2):
        run_group(worker, size, tmp_path)
    assert np.allclose(np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy"), rtol=0, atol=1e-5)


def test_a_plan_counts_the_audio_of_the_steps(tmp_path: Path) -> None:
    """Of `batch_seconds` with a budget of steps: as many epochs as the steps are, each of the block's audio."""
    release = plain_release(tmp_path / "corpus", ["ca"])
    table = {"task": "gender", "corpus": str(release), "languages": ["ca"], "seeds": 1, "samples": 2,
             "clips_per_speaker": 1, "mode": "list", "mixtures": ["ca"], "model": {"backbone": "tiny"},
             "train": {"budget": "steps", "steps": 6, "batch_seconds": 2.0}}  # fmt: skip
    audio = Audio(job := make_job(parse(table, "g"), tmp_path / "results"))
    block = audio._block("ca", 2)
    groups = list(length_batches([(clip,) for clip in block], 2.0))
    assert len(groups) == 2
    found = audio.trained(Mixture.parse("ca", job.grid.samples))
    assert found.steps == pytest.approx(6)
    assert found.seconds == pytest.approx(sum(clip.seconds for clip in block) * 3)
    assert found.padded == pytest.approx(sum(padded([block[n] for n in group]) for group in groups) * 3)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_seconds in \[train\] is -1"):
        Train(batch_seconds=-1)
