"""What a trial is computed in, as its task sees it: autocast in loss and outputs, TF32 of the whole process."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.fitting import World
from engine.job import Job
from engine.plan import make_plan
from engine.precision import autocast, tf32
from engine.shortcuts import Shortcuts
from engine.train import _numerics, run_trial
from grids.grid import Model, Train
from tasks.base import Batch, Frozen, Output, Scored, Setup, Task, Tests
from tasks.data.store import open_language
from tasks.gender import Gender
from tests.engine.learners import CLIPS, TESTS, gender_learner
from tests.engine.test_train import CODES, finish, make
from tests.tasks.data.hostile import plain_release

BF16, FP16 = torch.bfloat16, torch.float16
FOUND = (True, False)  # TF32 of products and convolutions before a trial: torch's defaults are the other way round
Seen = tuple[torch.dtype | None, bool, bool]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_release(tmp_path_factory.mktemp("corpus"), CODES, held_out_speakers=2)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    open_language.cache_clear()


def switches() -> tuple[bool, bool]:
    """Whether products and convolutions may use TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def _odd_switches() -> Iterator[None]:
    before = switches()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = FOUND
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Listening(Gender):
    """Notes what it is computed in."""

    def __init__(self) -> None:
        super().__init__(Gender.Options(), Model(backbone="tiny"))
        self.heard = defaultdict[str, set[Seen]](set)

    def note(self, where: str) -> None:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        self.heard[where].add((dtype, *switches()))

    def network(self, setup: Setup) -> Any:
        self.note("load")
        return super().network(setup)

    def loss(self, network: Any, batch: Batch) -> torch.Tensor:
        self.note("loss")
        losses = super().loss(network, batch)
        losses.register_hook(lambda gradient: self.note("backward"))
        return losses

    def outputs(self, network: Any, batch: Batch) -> Sequence[Output]:
        self.note("outputs")
        return super().outputs(network, batch)

    def score(self, network: Any, tests: Mapping[str, Tests]) -> Scored:
        self.note("score")
        return super().score(network, tests)


class Failing(Listening):
    """Fails in a step."""

    def loss(self, network: Any, batch: Batch) -> torch.Tensor:
        self.note("loss")
        raise RuntimeError("no step")


class FailingPart(Listening):
    """Has a frozen part, which fails."""

    def frozen(self, network: Any) -> Any:
        def compute(batch: Batch) -> Sequence[np.ndarray]:
            self.note("frozen")
            raise RuntimeError("no output")

        return Frozen("part", compute)


@dataclass(frozen=True)
class ListeningJob(Job):
    """A job of one task object."""

    listener: Listening

    @property
    def task(self) -> Task:
        return self.listener


def listening(job: Job, listener: Listening) -> ListeningJob:
    return ListeningJob(**vars(job), listener=listener)


PRECISIONS: list[tuple[str, str, Seen, Seen]] = [
    ("fp32", "", (None, False, False), (None, False, False)),
    ("tf32", "", (None, True, True), (None, True, True)),
    ("bf16", "", (BF16, False, False), (BF16, False, False)),
    ("bf16", "fp32", (BF16, False, False), (None, False, False)),
    ("fp16", "tf32", (FP16, False, False), (None, True, True)),
    ("fp32", "bf16", (None, False, False), (BF16, False, False)),
    ("tf32", "fp32", (None, True, True), (None, False, False)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "evaluation", "trained", "scored"), PRECISIONS)
def test_each_phase_has_its_precision_and_leaves_the_process_as_it_was(
    corpus: Path,
    tmp_path: Path,
    precision: str,
    evaluation: str,
    trained: Seen,
    scored: Seen,
) -> None:
    """Dev sets are scored inside the training, and the training goes on in its own precision after them."""
    train = {"batch_size": 4, "epochs": 2, "select_by": "accuracy",
             "precision": precision, "evaluation_precision": evaluation}  # fmt: skip
    job = listening(make(corpus, tmp_path, train=train), Listening())
    result = run_trial(job, make_plan(job).pending[0])
    heard = job.listener.heard
    assert heard["load"] == {(None, False, False)}
    assert heard["loss"] == {trained}
    assert heard["backward"] == {(None, *trained[1:])}, "the backward pass is outside autocast, as torch asks for"
    assert heard["outputs"] == {scored}
    assert heard["score"] == {(None, *scored[1:])}
    assert switches() == FOUND
    assert result is not None
    numerics = result.passes[0].numerics
    assert numerics["precision"] == precision
    assert numerics.get("evaluation_precision", "") == evaluation
    assert "tf32" not in numerics, "a CPU has none"


@pytest.mark.parametrize(
    ("listener", "where", "seen"),
    [(Failing(), "loss", (None, True, True)), (FailingPart(), "frozen", (None, False, False))],
    ids=["step", "frozen part"],
)
def test_a_trial_that_fails_leaves_the_process_as_it_was(
    corpus: Path,
    tmp_path: Path,
    listener: Listening,
    where: str,
    seen: Seen,
) -> None:
    """What a frozen part gives is kept for trials of every precision, so it is computed without TF32."""
    job = listening(make(corpus, tmp_path, train={"precision": "tf32"}), listener)
    with pytest.raises(RuntimeError, match=r"no step|no frozen output of the clip .*: no output"):
        run_trial(job, make_plan(job).pending[0])
    assert listener.heard[where] == {seen}
    assert switches() == FOUND


def test_a_kept_checkpoint_is_scored_in_the_evaluation_precision(corpus: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "languages": ["no"], "keep": ["checkpoints"],
        "train": {"batch_size": 4, "precision": "bf16", "evaluation_precision": "tf32"},
    }  # fmt: skip
    job = make(corpus, tmp_path, **changes)
    finish(job, make_plan(job).pending[0])
    grown = listening(make(corpus, tmp_path, **changes, evaluate=["ca"]), Listening())
    item = make_plan(grown).pending[0]
    assert item.how == "checkpoint"
    result = run_trial(grown, item)
    assert grown.listener.heard["outputs"] == {(None, True, True)}
    assert not grown.listener.heard["loss"]
    assert result is not None
    assert result.passes[-1].numerics["evaluation_precision"] == "tf32"


def test_numerics_of_a_gpu_say_whether_tf32_was_used(corpus: Path, tmp_path: Path) -> None:
    found = []
    for precision, evaluation, _, _ in PRECISIONS:
        train = {"precision": precision, "evaluation_precision": evaluation}
        job = make(corpus, tmp_path / f"{precision} {evaluation}", train=train, resources={"gpus_per_trial": 0.5})
        found.append(_numerics(job, World(), Shortcuts())["tf32"])
    assert found == [False, True, False, False, True, False, True]


def test_a_network_trained_in_bf16_is_scored_as_the_same_network_in_fp32() -> None:
    one = gender_learner(Train(learning_rate=1e-3, batch_size=4, precision="bf16"))
    one.fit([CLIPS], seed=1)
    found = []
    for train in (one.train, replace(one.train, evaluation_precision="fp32"), Train()):
        tests = replace(one, train=train).evaluate(TESTS)
        assert tests is not None
        found.append(tests["no"].stack("probability"))
    assert np.array_equal(found[1], found[2])
    assert not np.array_equal(found[0], found[1])


def test_tf32_changes_no_bit_on_a_cpu() -> None:
    found = []
    for name in ("fp32", "tf32"):
        train = Train(learning_rate=1e-3, batch_size=4, precision=name)
        one = gender_learner(train)
        with tf32(name):
            one.fit([CLIPS], seed=1)
            tests = one.evaluate(TESTS)
        assert tests is not None
        found.append(tests["no"].stack("embedding"))
    assert np.array_equal(*found)


def test_phases_nest_and_torchs_own_flags_work_inside() -> None:
    """`cudnn.flags` raises where TF32 was set by its newer name."""
    with tf32("tf32"):
        with tf32("bf16"):
            assert switches() == (False, False)
            with torch.backends.cudnn.flags(enabled=False, allow_tf32=False):
                assert switches() == (False, False)
        assert switches() == (True, True)
        with torch.backends.cudnn.flags(enabled=False):
            pass
        assert switches() == (True, True)
    assert switches() == FOUND


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "exact"), [("fp32", True), ("tf32", False), ("bf16", False)])
def test_products_and_convolutions_of_a_gpu_round_as_they_are_told(name: str, exact: bool) -> None:
    """1 + 2^-12 needs more bits than TF32 has; the backward pass multiplies in a thread of autograd's."""
    device = torch.device("cuda")
    value = 1 + 2.0**-12
    layers = (
        (torch.nn.Linear(512, 512, bias=False), (512, 512)),
        (torch.nn.Conv1d(64, 64, 4, bias=False), (8, 64, 512)),
    )
    for layer, shape in layers:
        layer.to(device)
        torch.nn.init.constant_(layer.weight, 1.0)
        values = torch.full(shape, value, device=device, requires_grad=True)
        with tf32(name):
            with autocast(name, device):
                made = layer(values)
            (made.float() * value).sum().backward()
        assert values.grad is not None
        expected = layer.weight[0].numel() * value  # terms of an output; of an inner gradient too
        for found in (made.detach(), values.grad):
            middle = float(found[..., found.shape[-1] // 2].flatten()[0])
            assert (abs(middle / expected - 1) < 2.0**-15) is exact
