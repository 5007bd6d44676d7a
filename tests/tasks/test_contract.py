"""What every task must do: each entry of `TASKS`, and a toy of each further kind that the protocol must carry."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.fitting import World
from engine.inputs import FrozenOutputs, Inputs
from engine.learner import Learner
from engine.room import Room
from engine.shortcuts import Shortcuts
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks import TASKS, task_class
from tasks.asr.text import text_of
from tasks.asr.transducer import Shape
from tasks.base import Output, Setup, Task, Tests
from tasks.data.clips import GENDERS, Clip
from tasks.translation.texts import text_in
from tests.tasks.toys import TOYS
from tests.tasks.waves import WORDS, MadeWaves, make_clips

SCRATCH = ("asr/deepspeech", "asr/emformer", "asr/jasper", "asr/quartznet")
MODELS = {  # of the others: "tiny"
    "speaker/speech_llm": "tiny-llm",
    "translation": "tiny-whisper",
    **dict.fromkeys(("speaker/ecapa", "speaker/siamese", *SCRATCH), "none"),
}
TEXTS = str(Path(__file__).parents[1] / "data" / "words.tsv")
OPTIONS: dict[str, dict[str, Any]] = {
    "asr/deepspeech": {"channels": (4, 4), "layers": 1, "units": 32},
    "asr/emformer": {
        "shape": Shape(
            segment=8,
            right=4,
            reduction=2,
            width=32,
            heads=2,
            hidden=32,
            layers=2,
            encoding=32,
            dropout=0.0,
            embedding=16,
            predictor_layers=1,
            predictor_dropout=0.0,
        ),
    },
    "asr/jasper": {"blocks": 5, "repeats": 1, "scale": 1 / 16},
    "asr/quartznet": {"blocks": 5, "repeats": 1, "scale": 1 / 8},
    "speaker/ecapa": {"channels": 32, "aggregated": 64, "embedding": 32, "crop_seconds": 0.25},
    "speaker/siamese": {"channels": 32},
    "translation": {"to": "en", "also": ("source",), "max_tokens": 40, "texts": TEXTS},
}
NAMES = [*TASKS, *TOYS]
HEAVY = {"asr/emformer", "speaker/speech_llm", "translation"}
NAMES_OR_SLOW = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in NAMES]
CPU = torch.device("cpu")
# Settings in which eight clips are learnt by heart; a task that is not named learns with its own.
FAST = {
    "asr/ctc": Train(learning_rate=3e-3, epochs=60, batch_size=4, warmup=0.1),
    "gender": Train(learning_rate=3e-3, epochs=25, batch_size=4),
    **dict.fromkeys(SCRATCH, Train(learning_rate=3e-3, epochs=40, batch_size=4)),
    "lid": Train(learning_rate=3e-3, epochs=25, batch_size=4),
    "speaker/ecapa": Train(learning_rate=3e-3, epochs=25, batch_size=4),
    "speaker/mhubert": Train(learning_rate=3e-3, epochs=25, batch_size=4),
    "speaker/mhubert_validated": Train(learning_rate=3e-3, epochs=25, batch_size=4),
    "speaker/siamese": Train(learning_rate=3e-3, epochs=25, batch_size=4),
    "translation": Train(learning_rate=3e-3, epochs=25, batch_size=4),
}
CODES = ("no", "zh-CN")
NOTHING_TO_TRAIN = {"retrieval", "speaker/untrained", "toy", "toy retrieval"}
UNTRAINED = Setup(Mixture(), (), 0)


def make(name: str, **options: Any) -> Task:
    cls: Any = TOYS[name] if name in TOYS else task_class(name)
    return cls(cls.Options(**OPTIONS.get(name, {}), **options), Model(backbone=MODELS.get(name, "tiny")))


def learner(name: str, clips: tuple[Clip, ...], seed: int = 1, batch_seconds: float = 4.0) -> Learner:
    """A new network of the task, ready to fit on the clips."""
    task = make(name)
    torch.manual_seed(seed)
    network = task.network(Setup(Mixture.of({"no": len(clips)}), clips, seed))
    inputs: Inputs = MadeWaves()
    if (frozen := task.frozen(network)) is not None:
        inputs = FrozenOutputs(frozen, inputs, Path(tempfile.mkdtemp()), CPU, 10.0)
    train = FAST.get(name, task.train)
    return Learner(task, network, inputs, train, CPU, World(), Room(batch_seconds), lambda step, values: None)


def outputs_of(tests: dict[str, Tests] | None) -> list[Output]:
    assert tests is not None
    return [output for test in tests.values() for output in test.outputs]


def equal(one: list[Output], other: list[Output], tolerance: float = 0.0) -> bool:
    """Whether two lists of outputs are the same, numbers within a tolerance."""
    pairs = [(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in a]
    return all(
        np.array_equal(a, b) if a.dtype.kind in "UOb" or not tolerance else np.allclose(a, b, rtol=0, atol=tolerance)
        for a, b in pairs
    )


@pytest.fixture
def clips(request: pytest.FixtureRequest) -> tuple[Clip, ...]:
    """Eight clips, of as many languages as the test's task needs."""
    arguments = getattr(request.node, "callspec", None)
    name = arguments.params.get("name") if arguments else None
    codes = CODES[: max(make(name).needs.languages, 1) if name else 1]
    return tuple(c for code in codes for c in make_clips(code, "train", speakers=4 // len(codes), clips_each=2))


@pytest.fixture
def tests() -> dict[str, tuple[Clip, ...]]:
    return {"no": make_clips("no", "test"), "zh-CN": make_clips("zh-CN", "test")}


def test_the_contract_sees_every_registered_task() -> None:
    assert set(TASKS) <= set(NAMES)
    assert len(NAMES) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_declared(name: str) -> None:
    task = make(name)
    assert isinstance(task.train, Train)
    assert [metric.primary for metric in task.metrics].count(True) == 1
    assert len({metric.name for metric in task.metrics}) == len(task.metrics)
    assert hash(task.Options()) == hash(task.Options()), "options are a frozen value"


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_is_a_function_of_clips_seed_and_epoch(name: str, clips: tuple[Clip, ...]) -> None:
    one = learner(name, clips)
    examples = one.task.examples(one.network, clips, 1, 0)
    assert examples == one.task.examples(one.network, clips[::-1], 1, 0)
    if len(examples) > 1:
        assert examples != one.task.examples(one.network, clips, 2, 0)
        assert examples != one.task.examples(one.network, clips, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOTHING_TO_TRAIN])
def test_same_seed_same_result_and_another_seed_another(
    name: str, clips: tuple[Clip, ...], tests: dict[str, tuple[Clip, ...]]
) -> None:
    found = []
    for seed in (1, 1, 2):
        one = learner(name, clips, seed)
        one.fit([clips], seed)
        weights = [parameter.detach().numpy().copy() for parameter in one.network.parameters()]
        found.append((outputs_of(one.evaluate(tests)), weights))
    assert equal(found[0][0], found[1][0])
    assert all(np.array_equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(found[0][1], found[2][1], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOTHING_TO_TRAIN])
def test_overfits_eight_examples(name: str, clips: tuple[Clip, ...]) -> None:
    losses: list[float] = []
    one = learner(name, clips)
    logged = Learner(**{**vars(one), "log": lambda step, values: losses.append(float(values["loss"]))})
    logged.fit([clips], 1)
    assert np.mean(losses[-4:]) < 0.25 * np.mean(losses[:4])


@pytest.mark.parametrize("name", [name for name in NAMES_OR_SLOW if name != "toy"])
def test_outputs_do_not_depend_on_the_batch(
    name: str, clips: tuple[Clip, ...], tests: dict[str, tuple[Clip, ...]]
) -> None:
    alone, together = learner(name, clips, batch_seconds=0.01), learner(name, clips, batch_seconds=100.0)
    assert equal(outputs_of(alone.evaluate(tests)), outputs_of(together.evaluate(tests)), tolerance=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES_OR_SLOW if name != "toy"])
def test_a_ladder_of_lengths_changes_no_output_and_no_loss(
    name: str, clips: tuple[Clip, ...], tests: dict[str, tuple[Clip, ...]]
) -> None:
    outputs, losses = list[list[Output]](), list[torch.Tensor]()
    for ladder in (0.0, 0.3):
        one = replace(learner(name, clips), shortcuts=Shortcuts(ladder=ladder))
        outputs.append(outputs_of(one.evaluate(tests)))
        if name not in NOTHING_TO_TRAIN:
            batch = one._training_batch(one.task.examples(one.network, clips, 1, 0)[:4])
            one.network.eval()  # without what is drawn, and without batch norm over the batch
            losses.append(one.task.loss(one.network, batch).detach())
    assert equal(*outputs, tolerance=1e-5)
    assert all(torch.allclose(losses[0], loss, rtol=1e-5, atol=1e-5) for loss in losses)


@pytest.mark.parametrize("name", NAMES_OR_SLOW)
def test_shuffled_test_set_scores_the_same(
    name: str, clips: tuple[Clip, ...], tests: dict[str, tuple[Clip, ...]]
) -> None:
    one = learner(name, clips)
    sets = tests if name != "toy" else dict.fromkeys(tests, ())
    found = []
    for order in (1, -1):
        evaluated = one.evaluate({language: own[::order] for language, own in sets.items()})
        assert evaluated is not None
        found.append({(s.language, s.metric, s.condition): s for s in one.task.score(one.network, evaluated).scores})
    assert found[0].keys() == found[1].keys()
    assert found[0]
    for key, score in found[0].items():
        assert score.value == pytest.approx(found[1][key].value, abs=1e-6)
        assert score.n_test == found[1][key].n_test
        assert math.isfinite(score.value)


VERIFICATION = [name for name in TASKS if name.startswith("speaker/")]  # all score pairs of embeddings


def perfect(name: str, clip: Clip, speakers: list[str]) -> Output:
    """The outputs of a network that is always right."""
    return {
        "gender": {"embedding": np.zeros(2), "probability": np.eye(2)[GENDERS.index(clip.gender)]},
        "lid": {"probability": np.eye(2)[CODES.index(clip.language)], "languages": np.array(CODES)},
        "retrieval": {
            "frames": np.eye(4)[[WORDS.index(clip.sentence)]],
            "embedding": np.eye(4)[WORDS.index(clip.sentence)],
        },
        "speaker": {"embedding": np.eye(len(speakers))[speakers.index(clip.speaker)]},
        "asr": {"text": np.array([text_of(clip)]), "log_probability": np.zeros(1)},
        "toy CTC": {"text": np.array(clip.sentence)},
        "toy sequence to sequence": {"text": np.array(clip.sentence)},
        "toy pairs": {"embedding": np.eye(len(speakers))[speakers.index(clip.speaker)]},
        "toy frozen encoder": {"male": np.array(int(clip.gender == "male"))},
        "toy retrieval": {"embedding": np.eye(4)[WORDS.index(clip.sentence)]},
        "translation": {"text en": np.array(text_in(clip, "en", TEXTS)), "text source": np.array(clip.sentence)},
    }[name.partition("/")[0]]


# Primary score of outputs that know nothing: (expected value, tolerance). 600 clips of 30 speakers, 2 genders.
CHANCE = {"gender": (0.5, 0.06), **dict.fromkeys(VERIFICATION, (0.5, 0.03)), "toy pairs": (1 / 30, 0.04),
          "toy frozen encoder": (0.5, 0.06), "toy retrieval": (0.25, 0.05)}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if name != "toy"])
def test_perfect_outputs_score_perfectly(name: str, clips: tuple[Clip, ...]) -> None:
    task, made = make(name), {}
    for language in CODES:
        own = make_clips(language, "test")
        speakers = sorted({clip.speaker for clip in own})
        made[language] = Tests(own, tuple(perfect(name, clip, speakers) for clip in own))
    scores = task.score(task.network(UNTRAINED), made).scores
    for score in (score for score in scores if not score.metric.startswith("random")):
        assert score.value == pytest.approx(float(score.higher_is_better), abs=1e-9), score


@pytest.mark.parametrize("name", CHANCE)
def test_outputs_that_know_nothing_score_at_chance(name: str) -> None:
    task, made, random = make(name), {}, np.random.default_rng(0)
    for language in CODES:
        own = make_clips(language, "test", speakers=30, clips_each=20)
        known = [perfect(name, clip, sorted({c.speaker for c in own})) for clip in own]
        shuffled = [known[n] for n in random.permutation(len(own))]
        if name in VERIFICATION:
            shuffled = [{"embedding": random.normal(size=16)} for _ in own]
        made[language] = Tests(own, tuple(shuffled))
    expected, tolerance = CHANCE[name]
    primary = [score for score in task.score(task.network(UNTRAINED), made).scores if score.primary]
    assert primary
    for score in primary:
        assert score.value == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", ["asr/ctc", "gender", "lid", "speaker/ecapa", "speaker/mhubert", "toy CTC"])
def test_a_class_starts_from_the_same_row_in_every_mixture(name: str, clips: tuple[Clip, ...]) -> None:
    task = make(name)
    few = task.network(Setup(Mixture(), clips, 3))
    many = task.network(Setup(Mixture(), clips + make_clips("fy-NL", "train"), 3))
    names = {"gender": lambda n: n.names, "lid": lambda n: n.names, "toy CTC": lambda n: n.symbols,
             "asr/ctc": lambda n: n.symbols}  # fmt: skip
    rows, more = (names.get(name, lambda n: n.speakers)(network) for network in (few, many))
    for number, label in enumerate(rows):
        assert torch.equal(few.head.weight[number], many.head.weight[list(more).index(label)])


@pytest.mark.parametrize("name", ["asr/ctc", "gender", "speaker/mhubert", "toy CTC"])
def test_another_seed_starts_from_another_head(name: str, clips: tuple[Clip, ...]) -> None:
    one, again, other = (make(name).network(Setup(Mixture(), clips, seed)).head.weight for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_frozen_outputs_are_computed_once_a_clip(tmp_path: Path, clips: tuple[Clip, ...]) -> None:
    task = make("toy frozen encoder")
    computed: list[int] = TOYS["toy frozen encoder"].computed
    frozen = task.frozen(None)
    assert frozen is not None
    computed.clear()
    for _ in range(3):
        inputs = FrozenOutputs(frozen, MadeWaves(), tmp_path, CPU, seconds=1.0)
        arrays = inputs.arrays(clips)
    assert sum(computed) == len(clips)
    assert [array.shape for array in arrays] == [(1, 16)] * len(clips)
