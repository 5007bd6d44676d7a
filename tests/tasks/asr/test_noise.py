"""Noise is drawn for each clip, of the ratio asked for, whatever the batch; every system learns and is scored in it."""

import numpy as np
import pytest
import torch

from grids.errors import UserError
from grids.mixture import Mixture
from tasks import TASKS
from tasks.asr.ctc import BackboneOptions
from tasks.asr.system import CtcOptions
from tasks.augment import Augmentation, augmented, draw_whole, in_noise, keyed_examples
from tasks.base import Batch, Setup, Tests
from tasks.data.blocks import switched
from tests.tasks.asr.test_system import ALSO, SAID, batch, made
from tests.tasks.test_contract import make
from tests.tasks.waves import make_clips


def ratio(clean: Batch, noisy: Batch) -> list[float]:
    """Signal-to-noise ratio of each clip over its own samples, in dB."""
    found = []
    for one, other, length in zip(clean.values, noisy.values, clean.lengths, strict=True):
        signal, added = one[:length], (other - one)[:length]
        found.append(float(10 * (signal.square().sum() / added.square().sum()).log10()))
    return found


def test_noise_has_the_ratio_asked_for_and_stays_inside_its_clip() -> None:
    clean = batch(SAID)
    assert ratio(clean, in_noise(clean, 5.0)) == pytest.approx([5.0] * len(SAID), abs=1e-3)
    examples = keyed_examples(SAID, 1, 0)
    own = batch(tuple(example.clips[0] for example in examples))
    noisy = augmented(own, draw_whole(examples, Augmentation(noise_db=(5.0, 5.0))))
    assert ratio(own, noisy) == pytest.approx([5.0] * len(SAID), abs=1e-3)
    padding = torch.arange(own.values.shape[1]) >= own.lengths[:, None]
    assert (noisy.values[padding] == 0).all()


def test_noise_does_not_depend_on_the_batch() -> None:
    together = in_noise(batch(SAID), 0.0).values[0, : SAID[0].length]
    assert torch.equal(together, in_noise(batch(SAID[:1]), 0.0).values[0])
    examples = keyed_examples(SAID, 1, 0)
    augmentation = Augmentation(noise_db=(0.0, 20.0), reverberation_seconds=(0.1, 0.3))
    together_B, alone_B = draw_whole(examples, augmentation), draw_whole(examples[:1], augmentation)
    assert torch.equal(together_B["noise_db"][:1], alone_B["noise_db"])
    assert torch.equal(together_B["noise"][0, : alone_B["noise"].shape[1]], alone_B["noise"][0])
    assert torch.equal(together_B["impulse"][:1], alone_B["impulse"])
    assert not torch.equal(keyed_noise(1), keyed_noise(2))


def keyed_noise(epoch: int) -> torch.Tensor:
    """The first clip's noise in an epoch."""
    first = next(e for e in keyed_examples(SAID, 1, epoch) if e.clips[0] == SAID[0])
    return draw_whole([first], Augmentation(noise_db=(0.0, 0.0)))["noise"]


def test_a_training_with_noise_and_scores_under_noise() -> None:
    augmentation = Augmentation(noise_db=(0.0, 10.0), reverberation_seconds=(0.1, 0.2))
    task, network = made(SAID + ALSO, augmentation=augmentation, test_noise_db=(10.0, 0.0))
    examples = task.examples(network, SAID + ALSO, 1, 0)
    own = batch(tuple(example.clips[0] for example in examples), task.labels(network, examples))
    assert torch.isfinite(task.loss(network, own)).all()
    with torch.no_grad():
        outputs = task.outputs(network.eval(), batch(SAID))
    scores = task.score(network, {"no": Tests(SAID, tuple(outputs))}).scores
    assert {score.condition for score in scores} == {"", "noise 10 dB", "noise 0 dB"}
    assert all(np.isfinite(score.value) for score in scores)


def test_clips_with_a_condition_of_their_own_are_not_scored_in_noise() -> None:
    task, network = made(SAID + ALSO, test_noise_db=(0.0,))
    clips = (*SAID, *switched(SAID, ALSO))
    plain, noisy = ({"text" + end: np.array([text]), "log_probability" + end: np.zeros(1)}
                    for end, text in (("", "ab"), (" 0 dB", "")))  # fmt: skip
    scores = task.score(network, {"no": Tests(clips, ({**plain, **noisy},) * len(clips))}).scores
    counts = {score.condition: score.n_test for score in scores}
    assert counts == {"": len(SAID), "then zh-CN": len(clips) - len(SAID), "noise 0 dB": len(SAID)}
    assert {s.value for s in scores if (s.metric, s.condition) == ("cer", "noise 0 dB")} == {1.0}


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("asr/")])
def test_every_system_trains_on_what_is_drawn(name: str) -> None:
    clips = make_clips("no", "train", speakers=2, clips_each=1)
    task = make(name, augmentation=Augmentation(noise_db=(-10.0, -10.0)))
    network = task.network(Setup(Mixture(), clips, 1)).eval()
    examples = task.examples(network, clips, 1, 0)
    own = tuple(example.clips[0] for example in examples)
    heard: list[torch.Tensor] = []
    network.encoder.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    labels = task.labels(network, examples)
    with torch.no_grad():
        task.loss(network, batch(own, labels))
    assert torch.equal(heard[0], augmented(batch(own), labels).values)
    assert ratio(batch(own), Batch(heard[0], batch(own).lengths)) == pytest.approx([-10.0] * len(own), abs=1e-3)


def test_speeds_are_refused() -> None:
    with pytest.raises(UserError, match="allowed: noise and reverberation"):
        BackboneOptions(augmentation=Augmentation(speeds=(0.9, 1.1)))
    assert CtcOptions().augmentation == Augmentation()
