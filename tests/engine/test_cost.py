"""What trials cost: planted seconds a step and a second of padded audio are found again; what shared the GPU."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.cost import Audio, Estimate, Sharing, Workload, _epoch, _expected_longest, _rates, estimate
from engine.fitting import World
from engine.inputs import length_batches, rung
from engine.job import Job, settle
from engine.pilot import time_rows
from engine.plan import Pending, make_plan
from engine.shortcuts import Shortcuts
from engine.store import Pass, Result
from engine.train import _numerics, _sharing
from grids.grid import Train
from grids.mixture import Mixture, Trial
from grids.resources import Resources
from tasks.base import Score
from tasks.data.clips import Clip
from tasks.examples import shuffled
from tests.engine.jobs import toy_job

A_STEP, A_SECOND = 0.0077, 0.00045  # of mHuBERT on an H100
GPU = "NVIDIA H100"
MEAN_SECONDS = {"ca": 3.0, "no": 5.0, "eu": 6.0, "zh-CN": 9.0}
Numerics = Mapping[str, Any]


def clips_of(code: str, count: int) -> tuple[Clip, ...]:
    """Clips of a language, between 0.7 and 1.3 times its mean length."""
    lengths = np.random.default_rng(len(code) + count).uniform(0.7, 1.3, count) * MEAN_SECONDS[code] * 16_000
    return tuple(
        Clip(code, f"{n}", "s", "", "ada", "train", 0, int(length), f"{n}") for n, length in enumerate(lengths)
    )


class MadeAudio(Audio):
    """Blocks of made clips, and test sets of ten seconds a language."""

    def _block(self, code: str, count: int) -> tuple[Clip, ...]:
        return clips_of(code, count)

    def scored(self, languages: Sequence[str]) -> Workload:
        return Workload(len(languages), 10.0 * len(languages), 12.0 * len(languages))


def on_gpu(gpus: float, **further: str) -> Numerics:
    return {"gpus_per_trial": gpus, **further}


def write(
    job: Job, mixture: str | Mixture, seconds: Mapping[str, float], numerics: Numerics, day: int = 1, seed: int = 0
) -> None:
    """Stores a trial that took so long on a GPU."""
    trial = Trial(Mixture.parse(mixture, job.grid.samples) if isinstance(mixture, str) else mixture, seed)
    languages = job.grid.evaluated(trial.mixture)
    scores = tuple(Score(code, "score", 0.5, 7, primary=True, higher_is_better=True) for code in languages)
    ran = Pass(languages, seconds, GPU, numerics, "v", f"2026-01-{day:02}")
    job.store.write(Result(trial, scores, (ran,), 8, 1, "c", "d", {}))


def made_job(folder: Path, **changes: Any) -> Job:
    table = {"languages": [*MEAN_SECONDS], "samples": 60, "seeds": 2, "resources": {"gpus_per_trial": 0.25}}
    return settle(toy_job(folder, **{**table, **changes}))


def planted(work: Workload) -> float:
    return A_STEP * work.steps + A_SECOND * work.padded


def found_for(job: Job, audio: Audio, pending: Sequence[Pending] | None = None) -> Estimate:
    found = estimate(job, audio, make_plan(job).pending if pending is None else pending)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "train",
    [
        {"batch_size": 1}, {"batch_size": 8}, {"batch_seconds": 40.0}, {"batch_size": 7, "epochs": 3},
        {"batch_size": 8, "budget": "steps", "steps": 50},
    ],
    ids=str,
)  # fmt: skip
def test_planted_costs_are_found_for_mixtures_of_other_sizes(tmp_path: Path, train: dict[str, Any]) -> None:
    job = made_job(tmp_path, train=train, mixtures=["ca+4*zh-CN", "eu>no", "4*eu"])
    audio = MadeAudio(job)
    for text in ("ca", "no", "zh-CN", "ca+ca", "no+no", "ca+no"):
        work = audio.trained(Mixture.parse(text, 60))
        languages = len(Mixture.parse(text, 60).languages)
        write(job, text, {"train": planted(work), "evaluate": 0.3 + 0.02 * 12 * languages}, on_gpu(0.25))
    left = make_plan(job).pending
    found = found_for(job, audio, left)
    wanted = sum(planted(audio.trained(item.trial.mixture)) for item in left)
    assert found.phases["train"] * 3600 == pytest.approx(wanted, rel=0.01)
    scored = sum(0.3 + 0.02 * 12 * len(item.languages) for item in left)
    assert found.phases["evaluate"] * 3600 == pytest.approx(scored, rel=0.01)
    for text in ("ca+4*zh-CN", "eu>no", "4*eu"):
        one = [item for item in left if item.trial.mixture == Mixture.parse(text, 60)]
        own = planted(audio.trained(one[0].trial.mixture)) * len(one)
        assert found_for(job, audio, one).phases["train"] * 3600 == pytest.approx(own, rel=0.01)


@pytest.mark.parametrize(("measured", "other"), [(1, 8), (8, 1), (4, 32)])
def test_costs_hold_for_other_batch_sizes(measured: int, other: int) -> None:
    blocks = [clips_of(code, count) for code in MEAN_SECONDS for count in (120, 240)]
    work = [_epoch(clips, Train(batch_size=measured), 0.05) for clips in blocks]
    rates = _rates(np.array([[one.steps, one.padded] for one in work]), np.array([planted(one) for one in work]))
    for clips in blocks:
        one = _epoch(clips, Train(batch_size=other), 0.05)
        assert rates @ [one.steps, one.padded] == pytest.approx(planted(one), rel=0.01)


def test_a_curve_is_estimated_from_its_small_blocks(tmp_path: Path) -> None:
    job = made_job(tmp_path, mode="curve", sizes=[40, 80, 160], samples=0, train={"batch_size": 8})
    audio = MadeAudio(job)
    for trial in (item.trial for item in make_plan(job).pending):
        if sum(trial.mixture.total_samples.values()) == 40:
            work = audio.trained(trial.mixture)
            write(job, trial.mixture, {"train": planted(work)}, on_gpu(0.25), seed=trial.seed)
    left = make_plan(job).pending
    wanted = sum(planted(audio.trained(item.trial.mixture)) for item in left)
    assert found_for(job, audio, left).hours * 3600 == pytest.approx(wanted, rel=0.01)


def test_one_kind_of_trial_is_exact_for_that_kind_and_scales_with_audio(tmp_path: Path) -> None:
    job = made_job(tmp_path, seeds=4)
    audio = MadeAudio(job)
    for seed, seconds in enumerate((3.0, 4.0, 8.0)):
        write(job, "ca", {"train": seconds}, on_gpu(0.25), seed=seed)

    def hours(text: str) -> float:
        return found_for(job, audio, [Pending(Trial(Mixture.parse(text, 60), 3), ("ca",))]).hours

    assert hours("ca") * 3600 == pytest.approx(5.0)
    ratio = audio.trained(Mixture.parse("no", 60)).padded / audio.trained(Mixture.parse("ca", 60)).padded
    assert hours("no") * 3600 == pytest.approx(5.0 * ratio)


ROWS = arrays(float, st.tuples(st.integers(1, 8), st.just(2)), elements=st.just(0.0) | st.floats(1e-3, 1e6))


@given(ROWS, st.data())
def test_rates_are_never_negative_and_never_nan(done: np.ndarray, data: st.DataObject) -> None:
    seconds = data.draw(arrays(float, len(done), elements=st.floats(0, 1e5)))
    assert (_rates(done, seconds) >= 0).all()


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=8), st.floats(0.1, 10), st.floats(0.01, 100))
def test_units_in_proportion_give_the_plain_ratio(sizes: list[float], steps: float, seconds: float) -> None:
    done = np.array([[steps * size, size] for size in sizes])
    took = seconds * np.linspace(1, 2, len(sizes))
    assert _rates(done, took) == pytest.approx([0, took.sum() / sum(sizes)], rel=1e-4, abs=1e-4 * took.sum())


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7), st.data())
def test_the_expected_longest_is_the_mean_over_all_draws(values: list[float], data: st.DataObject) -> None:
    drawn = data.draw(st.integers(1, len(values)))
    every = [max(some) for some in combinations(values, drawn)]
    assert _expected_longest(np.array(values), drawn) == pytest.approx(np.mean(every))


@pytest.mark.parametrize("size", [1, 8, 50, 200])
def test_padding_is_that_of_the_batches_that_are_drawn(size: int) -> None:
    clips = (*clips_of("ca", 75), *clips_of("zh-CN", 60))
    seconds, steps = [], 0
    for seed in range(40):
        order = [rung(example.clips[0].length, 0.05) / 16_000 for example in shuffled(clips, seed, 0)]
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        seconds.append(sum(len(batch) * max(batch) for batch in batches))
        steps = len(batches)
    found = _epoch(clips, Train(batch_size=size), 0.05)
    assert found.steps == steps
    assert found.seconds == pytest.approx(sum(clip.seconds for clip in clips))
    assert found.padded == pytest.approx(np.mean(seconds), rel=0.01)


def test_stages_share_a_budget_of_steps_by_their_clips(tmp_path: Path) -> None:
    train = {"batch_seconds": 40.0, "budget": "steps", "steps": 30}
    job = made_job(tmp_path, train=train, mixtures=["ca>2*zh-CN"])
    first, second = clips_of("ca", 60), clips_of("zh-CN", 120)
    steps = [len(list(length_batches([(clip,) for clip in clips], 40.0))) for clips in (first, second)]
    parts = [sum(clip.seconds for clip in clips) for clips in (first, second)]
    found = MadeAudio(job).trained(Mixture.parse("ca>2*zh-CN", 60))
    assert found.steps == pytest.approx(30)
    assert found.seconds == pytest.approx(10 * parts[0] / steps[0] + 20 * parts[1] / steps[1])


def test_a_cpu_pads_to_no_ladder(tmp_path: Path) -> None:
    mixture = Mixture.parse("ca", 60)
    cpu = MadeAudio(made_job(tmp_path / "cpu", resources={})).trained(mixture)
    gpu = MadeAudio(made_job(tmp_path / "gpu")).trained(mixture)
    assert cpu.padded == pytest.approx(cpu.seconds)
    assert 1.01 * gpu.seconds < gpu.padded < 1.05 * gpu.seconds


OTHERS = [
    pytest.param(on_gpu(0.5), on_gpu(0.25), id="another share"),
    pytest.param(on_gpu(0.25), on_gpu(0.25, sharing="mps"), id="by another way"),
    pytest.param({}, on_gpu(0.25), id="unknown"),
]


@pytest.mark.parametrize(("old", "new"), OTHERS)
def test_trials_that_shared_the_gpu_in_another_way_are_not_mixed(tmp_path: Path, old: Numerics, new: Numerics) -> None:
    job = made_job(tmp_path)
    write(job, "ca", {"train": 1000.0}, old, day=1)
    write(job, "ca", {"train": 8.0}, new, day=2, seed=1)
    found = found_for(job, MadeAudio(job), [Pending(Trial(Mixture.parse("ca", 60), 1), ("ca",))])
    assert (found.hours, found.trials) == (pytest.approx(8 / 3600), 1)
    assert found.sharing == Sharing(0.25, new.get("sharing", "processes"))


@pytest.mark.parametrize(
    ("numerics", "asked", "texts"),
    [
        (on_gpu(0.25), 0.25, ["on NVIDIA H100, 4 trials a GPU;", " 0.00139 "]),
        (on_gpu(0.25, sharing="mps"), 0.25, ["4 trials a GPU (mps);"]),
        (on_gpu(1.0), 1.0, ["1 trial a GPU;"]),
        (on_gpu(2.0), 2.0, ["2 GPUs a trial;"]),
        ({}, 0.25, ["how many shared a GPU is unknown", "0.00139 "]),
        (on_gpu(0.25), 0.125, [
            "measured with 4 trials a GPU, the grid asks for 8 trials a GPU: unknown how that changes it", "0.00139 ",
        ]),
        (on_gpu(0.25), 0.0, ["measured with 4 trials a GPU, the grid asks for no GPU: unknown"]),
    ],
)  # fmt: skip
def test_the_time_says_what_shared_the_gpu(
    tmp_path: Path, numerics: Numerics, asked: float, texts: Sequence[str]
) -> None:
    """Of 20 seconds at a quarter of a GPU 5 are a GPU's own, whatever the grid asks for now."""
    job = made_job(tmp_path, resources={"gpus_per_trial": asked})
    write(job, "ca", {"train": 20.0}, numerics)
    found = found_for(job, MadeAudio(job), [Pending(Trial(Mixture.parse("ca", 60), 1), ("ca",))])
    text = dict(time_rows(job, found))["time"]
    assert all(one in " " + text for one in texts), text
    assert "this machine" not in text or "unknown how" not in text


def test_a_pass_says_its_share_of_a_gpu_and_a_state_is_not_bound_to_it(tmp_path: Path) -> None:
    assert _sharing(Resources(gpus_per_trial=0.25)) == {"gpus_per_trial": 0.25, "sharing": "processes"}
    assert _sharing(Resources()) == {}
    jobs = [toy_job(tmp_path, resources={"gpus_per_trial": gpus}) for gpus in (0.25, 0.5)]
    assert _numerics(jobs[0], World(), Shortcuts()) == _numerics(jobs[1], World(), Shortcuts())
