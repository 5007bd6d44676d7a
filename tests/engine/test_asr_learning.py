"""Recognisers learn to write what speakers say whom they have not heard."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.fitting import World
from engine.inputs import Waves
from engine.job import make_job
from engine.learner import Learner
from engine.plan import Pending
from engine.room import Room
from engine.train import run_trial
from grids.grid import parse
from grids.mixture import Mixture
from tasks.asr.scoring import marked_errors
from tasks.asr.text import text_of
from tasks.base import Setup
from tasks.data.blocks import held_out
from tasks.data.clips import Clip
from tasks.data.store import open_language

GRIDS = Path(__file__).parents[2] / "grids"
UNSEEN = 15  # of the 150 names of things that all sentences are made of


def characters_of(words: set[str], clips: tuple[Clip, ...]) -> list[list[bool]]:
    """Whether each character of each clip's text belongs to one of the words."""
    return [[word in words for word in text_of(clip).split() for _ in f"{word} "][:-1] for clip in clips]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "clips_at_most"),
    [
        ("demo_asr", 800),
        ("demo_asr_deepspeech", 480),
        ("demo_asr_quartznet", 480),
        ("demo_asr_jasper", 480),
        ("demo_asr_emformer", 480),
    ],
)
def test_half_of_the_characters_of_unseen_speakers_are_right(
    name: str, clips_at_most: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No training clip has a test clip's speaker, its sentence, or one of the unseen words."""
    table: dict[str, Any] = tomllib.loads((GRIDS / f"{name}.toml").read_text(encoding="utf-8"))
    job = make_job(
        parse({**table, "languages": ["ca"], "seeds": 1, "mode": "list", "mixtures": ["ca"]}, name), tmp_path
    )
    assert job.corpus is not None
    clips = open_language(job.corpus, "ca").clips
    test = held_out(clips, job.task.needs, "test", 160)
    unseen = set(sorted({word for clip in test for word in text_of(clip).split()})[::10][:UNSEEN])
    train = tuple(c for c in clips if c.split == "train" and not unseen & {*text_of(c).split()})[:clips_at_most]
    assert not {c.speaker for c in train} & {c.speaker for c in test}
    assert not {c.sentence for c in train} & {c.sentence for c in test}
    torch.manual_seed(0)
    network = job.task.network(Setup(Mixture.of({"ca": len(train)}), train, 0))
    learner = Learner(
        job.task,
        network,
        Waves(job.corpus),
        job.train,
        torch.device("cpu"),
        World(),
        Room(60.0),
        lambda step, values: None,
    )
    learner.fit([train], 0)
    tests = learner.evaluate({"ca": test})
    assert tests is not None
    scored = job.task.score(network, tests)
    (cer,) = (score.value for score in scored.scores if score.metric == "cer")
    references, hypotheses = (list(map(str, scored.predictions[key])) for key in ("reference", "hypothesis"))
    new = marked_errors(references, hypotheses, characters_of(unseen, test), words=False)
    with capsys.disabled():
        print(f"\n{name}: CER {cer:.3f}; of {len(unseen)} unseen words {new.rate:.3f} ({new.total} characters: "  # noqa: T201
              f"{', '.join(sorted(unseen))})")  # fmt: skip
    assert cer < 0.5
    assert new.total > 100
    assert new.rate < 0.9, "words that were never heard are spelt, not recalled"


@pytest.mark.slow
@pytest.mark.long
def test_a_recogniser_of_phones_reads_a_script_that_it_has_never_seen(tmp_path: Path) -> None:
    """Spanish alone, scored on Greek: most phones are right, though no letter could be."""
    table: dict[str, Any] = tomllib.loads((GRIDS / "demo_asr_phones.toml").read_text(encoding="utf-8"))
    job = make_job(parse({**table, "languages": ["el", "es"], "seeds": 1, "mixtures": ["es"]}, "phones"), tmp_path)
    (trial,) = job.grid.trials()
    result = run_trial(replace(job, wandb="off"), Pending(trial, job.grid.evaluated(trial.mixture)))
    assert result is not None
    per = {score.language: score.value for score in result.scores if score.metric == "per"}
    primary = {score.language: score.value for score in result.scores if score.primary}
    assert per == primary
    assert per["es"] < 0.4 < 0.6 > per["el"]
