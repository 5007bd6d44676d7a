"""Recorded steps: the bits of steps taken one by one, on the tensors of a process that later trials use again."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from engine.checkpoints import PausedError
from engine.fitting import World, rate_factor
from engine.graphs import MOST_NETWORKS, Graphs, Recorder, unrecordable
from engine.inputs import FrozenOutputs, Inputs
from engine.learner import Learner
from engine.room import Room
from engine.shortcuts import Shortcuts
from grids.errors import UserError
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks.augment import Augmentation
from tasks.base import Kernels, Setup, Task
from tasks.data.clips import Clip
from tasks.examples import PaddedHead, row_rung
from tasks.gender import Gender, GenderOptions
from tasks.lid import Language, LanguageOptions
from tasks.speaker.mhubert import IdentificationOptions, SpeakerIdentification
from tests.engine.learners import StopsAt
from tests.engine.tape import NeverRecorder, TapeRecorder
from tests.tasks.test_contract import NAMES, make
from tests.tasks.waves import MadeWaves, make_clips

CPU = torch.device("cpu")
KERNELS = Kernels(product=True, attention=True, norm=True, convolutions=True, casts=True)
OTHERS = ("speaker/ecapa", "speaker/siamese", "speaker/speech_llm")
TASKS: dict[str, Task] = {
    "gender": Gender(GenderOptions(), Model(backbone="tiny-groupnorm")),
    "lid": Language(LanguageOptions(), Model(backbone="tiny")),
    "speaker/mhubert": SpeakerIdentification(IdentificationOptions(layers=2), Model(backbone="tiny-groupnorm")),
}
ALL = {**TASKS, **{name: make(name) for name in OTHERS}}
CLIPS = (*make_clips("no", "train", speakers=6, clips_each=3), *make_clips("zh-CN", "train", speakers=3, clips_each=3))
TESTS = {"no": make_clips("no", "test", speakers=2, clips_each=2)}


def graphs(recorder: Recorder | None = None) -> Graphs:
    """The static networks of a process that has run nothing yet."""
    return Graphs(CPU, recorder or TapeRecorder())


def trial(
    task: Task, own: Graphs, seed: int = 1, clips: tuple[Clip, ...] = CLIPS, log: Any = lambda step, values: None,
    device: torch.device = CPU, **changes: Any,
) -> Learner:  # fmt: skip
    """A trial of a task, with dropout, on a process's static networks."""
    train = Train(**{"learning_rate": 1e-3, "batch_size": 1, "warmup": 0.2, "schedule": "linear", **changes})
    network = task.network(Setup(Mixture.of({"no": len(clips)}), clips, seed))
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.2
    network = network.to(device)
    torch.manual_seed(seed)
    np.random.seed(seed)
    fast = Shortcuts(KERNELS, 0.3, own)
    inputs: Inputs = MadeWaves()
    if (frozen := task.frozen(network)) is not None:
        inputs = FrozenOutputs(frozen, inputs, Path(tempfile.mkdtemp()), device, 10.0)
    return Learner(task, network, inputs, train, device, World(), Room(4.0), log, fast)


def trained(one: Learner, clips: tuple[Clip, ...] = CLIPS, **how: Any) -> dict[str, torch.Tensor]:
    """The weights after a training."""
    one.fit([clips], seed=1, **how)
    return {name: tensor.clone() for name, tensor in one.network.state_dict().items()}


def assert_equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_every_task_that_says_so_is_recorded_here() -> None:
    said = {name for name in NAMES if getattr(make(name), "recordable", False)}
    assert said == {*ALL, "speaker/mhubert_validated", "speaker/untrained"}, "the last two have steps of the others"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TASKS, *OTHERS])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_recorded_steps_have_the_bits_of_steps_taken_one_by_one(name: str, precision: str) -> None:
    how = {"precision": precision, "epochs": 2, "weight_decay": 0.05, "batch_size": 1 if name in TASKS else 4}
    logged: dict[str, list[tuple[float, float, float]]] = {"recorded": [], "one by one": []}
    found = []
    for kind, recorder in (("recorded", TapeRecorder()), ("one by one", NeverRecorder())):

        def log(step: int, values: Mapping[str, Any], kind: str = kind) -> None:
            logged[kind].append((float(values["loss"]), float(values["gradient_norm"]), values["learning_rate"]))

        found.append(trained(trial(ALL[name], graphs(recorder), log=log, **how)))
        assert kind == "one by one" or recorder.tapes
    assert_equal(*found)
    assert logged["recorded"] == logged["one by one"]
    assert len({loss for loss, *_ in logged["recorded"]}) > len(logged["recorded"]) / 2, "the losses are the steps' own"


@pytest.mark.slow
@pytest.mark.parametrize("recorder", [TapeRecorder(), NeverRecorder()])
def test_each_step_has_its_own_rate(recorder: Recorder) -> None:
    """AdamW's first step moves weights by the rate, whatever the gradient is; a later one by 3.2 times it at most."""
    train = Train(learning_rate=1e-3, warmup=0.5, schedule="linear")
    moved, rates = list[float](), list[float]()

    def log(step: int, values: Mapping[str, Any]) -> None:
        now = one.network.head.weight.detach().clone()
        moved.append(float((now - before[-1]).abs().max()))
        before.append(now)
        rates.append(values["learning_rate"])

    one = trial(TASKS["gender"], graphs(recorder), log=log, warmup=0.5, schedule="linear")
    before = [one.network.head.weight.detach().clone()]
    trained(one)
    steps = len(CLIPS)
    assert rates == [1e-3 * rate_factor(train, step, steps) for step in range(steps)]
    assert moved[0] == pytest.approx(rates[0], rel=1e-2)
    assert all(step <= 3.2 * rate for step, rate in zip(moved, rates, strict=True))
    assert rates[0] < 0.1 * max(rates)


@pytest.mark.slow
def test_a_step_is_recorded_when_its_shape_comes_again_and_serves_every_later_trial() -> None:
    recorder = TapeRecorder()
    own = graphs(recorder)
    trained(trial(TASKS["gender"], own))
    shapes = len(recorder.tapes)
    assert 1 < shapes < len(CLIPS) / 2, "lengths repeat on the ladder"
    trained(trial(TASKS["gender"], own, seed=2))
    assert len(recorder.tapes) - shapes <= 2, "shapes that came once in the first trial"


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_trial_is_the_same_first_or_after_others(name: str) -> None:
    alone = trained(trial(TASKS[name], graphs(), seed=3))
    own = graphs()
    for seed in (1, 2):
        trained(trial(TASKS[name], own, seed=seed, learning_rate=1e-3))
    assert_equal(alone, trained(trial(TASKS[name], own, seed=3)))


@pytest.mark.slow
def test_a_failed_trial_leaves_nothing_to_the_next() -> None:
    alone, own = trained(trial(TASKS["gender"], graphs(), seed=3)), graphs()
    spoilt = trial(TASKS["gender"], own, seed=1)
    with torch.no_grad():
        spoilt.network.head.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        trained(spoilt)
    assert_equal(alone, trained(trial(TASKS["gender"], own, seed=3)))


@pytest.mark.slow
def test_a_step_that_failed_half_way_leaves_nothing_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"precision": "fp16"}
    alone, own = trained(trial(TASKS["gender"], graphs(NeverRecorder()), seed=3, **how)), graphs(NeverRecorder())
    with monkeypatch.context() as patched:
        patched.setattr("engine.update.nn.utils.clip_grad_norm_", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trained(trial(TASKS["gender"], own, seed=1, **how))
    assert_equal(alone, trained(trial(TASKS["gender"], own, seed=3, **how)))


@pytest.mark.slow
def test_heads_of_like_size_share_recordings_and_end_as_plain_ones() -> None:
    task, recorder = TASKS["speaker/mhubert"], TapeRecorder()
    own, few = graphs(recorder), make_clips("no", "train", speakers=5, clips_each=3)
    many = (*few, *make_clips("no", "dev", speakers=2, clips_each=3))
    trained(trial(task, own, clips=many, epochs=2), many)
    before = len(recorder.tapes)
    padded = trial(task, own, clips=few, epochs=2)
    found = trained(padded, few)
    assert len(recorder.tapes) == before, "5 and 7 speakers have one head"
    assert found["head.weight"].shape[0] == 5
    assert isinstance(padded.network.head, nn.Linear)
    assert_equal(found, trained(trial(task, graphs(NeverRecorder()), clips=few, epochs=2), few))


def test_rows_without_a_class_change_nothing() -> None:
    torch.manual_seed(0)
    plain, hidden, truth = nn.Linear(16, 11), torch.randn(5, 16), torch.tensor([0, 3, 10, 3, 7])
    padded = PaddedHead(plain)
    assert padded.weight.shape == (16, 16)
    for head in (plain, padded):
        nn.functional.cross_entropy(head(hidden), truth).backward()
    assert torch.allclose(plain.weight.grad, padded.weight.grad[:11], rtol=0, atol=1e-7)
    assert not padded.weight.grad[11:].any()
    assert not padded.bias.grad[11:].any()
    optimiser = torch.optim.AdamW(padded.parameters(), lr=0.1, weight_decay=0.5)
    optimiser.step()
    assert not padded.weight[11:].any()
    assert (padded(hidden).softmax(1)[:, 11:] == 0).all(), "whatever the weight decay makes of the bias"
    assert padded.eval()(hidden).shape == (5, 11)
    assert torch.equal(padded.plain()(hidden), padded(hidden))


@given(rows=st.integers(0, 100_000))
def test_rungs_of_rows_hold_the_rows_and_are_few(rows: int) -> None:
    found = row_rung(rows)
    assert rows <= found <= max(rows * 1.26, rows + 8)
    assert row_rung(found) == found
    assert found % 8 == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda one: one[0].item(), lambda one: one.tolist(), lambda one: one[one > 0], lambda one: one.cpu(),
        lambda one: one.numpy(), lambda one: 1 if one[0] > 0 else 0, lambda one: one.nonzero(),
        lambda one: one.masked_select(one > 0), lambda one: one.unique(), lambda one: float(one.sum()),
        lambda one: one.repeat_interleave(one.long()),
    ],
)  # fmt: skip
def test_the_stand_in_for_graphs_notices_every_question(ask: Any) -> None:
    with pytest.raises(AssertionError, match="asks the device"):
        TapeRecorder().record(lambda: ask(torch.ones(3)))
    assert torch.ones(1).item() == 1, "afterwards all may ask again"


def test_a_step_that_no_graph_can_hold_ends_the_trial_with_the_key_that_helps() -> None:
    class Refusing:
        def record(self, work: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(UserError, match=r"cannot be recorded: operation not permitted.*without = \['graphs'\]"):
        trained(trial(TASKS["gender"], graphs(Refusing())))


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("recorded_before", [True, False])
def test_an_interrupted_training_goes_on_in_place_bit_for_bit(tmp_path: Path, step: int, recorded_before: bool) -> None:
    how: dict[str, Any] = {"precision": "fp16", "epochs": 2}
    task = TASKS["speaker/mhubert"]
    whole = trained(trial(task, graphs(), **how))
    own = graphs()
    with pytest.raises(PausedError):
        trained(trial(task, own, **how), checkpoints=StopsAt(tmp_path / "a.pt", step))
    another = own if recorded_before else graphs()
    rest = trial(task, another, **how)
    torch.manual_seed(99)  # where another process would be
    assert_equal(whole, trained(rest, checkpoints=StopsAt(tmp_path / "a.pt", -1)))


@pytest.mark.slow
def test_validation_scores_the_classes_and_puts_the_best_network_back() -> None:
    task, own = TASKS["speaker/mhubert"], graphs()
    how: dict[str, Any] = {"epochs": 2, "select_by": "eer"}
    dev = {"no": make_clips("no", "dev", speakers=4, clips_each=3)}
    recorded = trained(trial(task, own, **how), dev=dev)
    assert_equal(recorded, trained(trial(task, graphs(NeverRecorder()), **how), dev=dev))


@pytest.mark.slow
def test_spec_augment_is_drawn_on_the_host_in_the_order_of_the_steps(tmp_path: Path) -> None:
    from tests.tasks.test_backbones import saved

    name = saved(tmp_path / "model", "wav2vec2", "layer")
    task = Gender(GenderOptions(), Model(backbone=name, spec_augment=True))
    found = [trained(trial(task, graphs(recorder), epochs=2)) for recorder in (TapeRecorder(), NeverRecorder())]
    assert_equal(*found)
    plain = trained(trial(Gender(GenderOptions(), Model(backbone=name)), graphs(), epochs=2))
    assert any(not torch.equal(plain[key], found[0][key]) for key in plain), "masks were drawn"


@pytest.mark.slow
def test_evaluation_after_recorded_steps_scores_the_trained_network() -> None:
    one = trial(TASKS["lid"], graphs())
    trained(one)
    tests = one.evaluate({"no": TESTS["no"]})
    assert tests is not None
    other = trial(TASKS["lid"], graphs(NeverRecorder()))
    trained(other)
    again = other.evaluate({"no": TESTS["no"]})
    assert again is not None
    assert np.array_equal(tests["no"].stack("probability"), again["no"].stack("probability"))
    assert tests["no"].stack("probability").shape[1] == 2, "as many as there are classes, not rows"


@pytest.mark.slow
def test_a_process_keeps_few_kinds_of_networks() -> None:
    own = graphs()
    for channels in range(MOST_NETWORKS + 2):
        clips = make_clips("no", "train", speakers=8 * channels + 2, clips_each=1)
        trained(trial(TASKS["speaker/mhubert"], own, clips=clips), clips)
    assert len(own._networks) == MOST_NETWORKS


def test_what_cannot_be_recorded_says_why() -> None:
    assert unrecordable(TASKS["gender"]) == ""
    assert "not recorded" in unrecordable(make("speaker/ecapa", augmentation=Augmentation(speeds=(0.9, 1.0))))
    assert "workers" in unrecordable(TASKS["gender"], workers=2)
    assert "LayerDrop" in unrecordable(Gender(GenderOptions(), Model(backbone="tiny", layerdrop=0.1)))
    assert "not recorded" in unrecordable(make("asr/ctc"))


@pytest.mark.slow
def test_a_static_network_takes_the_place_of_every_tensor_of_a_network() -> None:
    own = graphs()
    one, two = trial(TASKS["gender"], own, seed=1), trial(TASKS["gender"], own, seed=2)
    trained(one)
    trained(two)
    first, second = (dict(x.network.named_parameters()) for x in (one, two))
    assert all(first[name] is second[name] for name in first)
