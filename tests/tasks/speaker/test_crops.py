"""Crops and what is done to them: functions of (seed, epoch, clip), whatever the batch."""

import numpy as np
import pytest
import torch

from engine.inputs import collate
from grids.errors import UserError
from tasks.augment import Augmentation
from tasks.base import Batch, Example
from tasks.speaker.crops import crop_examples, cropped, draw
from tests.tasks.waves import make_clips, wave

CLIPS = make_clips("no", "train", speakers=4, clips_each=4)
SIZE = 3000
EVERYTHING = Augmentation(noise_db=(5.0, 15.0), reverberation_seconds=(0.1, 0.3), speeds=(0.9, 1.0, 1.1))


def crops_of(examples: list[Example], augmentation: Augmentation, size: int = SIZE) -> torch.Tensor:
    batch = collate([wave(example.clips[0]) for example in examples])
    labelled = Batch(batch.values, batch.lengths, draw(examples, size, augmentation))
    return cropped(labelled, size, augmentation).values


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERYTHING])
def test_a_crop_does_not_depend_on_the_batch(augmentation: Augmentation) -> None:
    examples = crop_examples(CLIPS, 1, 0)
    together = crops_of(examples, augmentation)
    assert together.shape == (len(CLIPS), SIZE)
    for number, example in enumerate(examples):
        assert torch.allclose(crops_of([example], augmentation)[0], together[number], atol=1e-6)


def test_mixed_precision_leaves_the_waves_alone() -> None:
    examples = crop_examples(CLIPS, 1, 0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = crops_of(examples, EVERYTHING)
    assert torch.equal(mixed, crops_of(examples, EVERYTHING))


def test_seed_and_epoch_move_the_crops_and_the_order_given_does_not() -> None:
    def starts(seed: int, epoch: int, clips: tuple = CLIPS) -> dict[str, int]:
        examples = crop_examples(clips, seed, epoch)
        return dict(zip([e.clips[0].name for e in examples], draw(examples, 100, Augmentation())["start"].tolist(),
                        strict=True))  # fmt: skip

    assert starts(1, 0) == starts(1, 0, CLIPS[::-1])
    assert starts(1, 0, CLIPS[:3]).items() <= starts(1, 0).items(), "another mixture has the same crops"
    assert starts(1, 0) != starts(2, 0)
    assert starts(1, 0) != starts(1, 1)
    assert all(0 <= starts(1, 0)[clip.name] <= clip.length - 100 for clip in CLIPS)


def test_a_plain_crop_is_a_piece_of_the_clip() -> None:
    examples = crop_examples(CLIPS, 1, 0)
    starts = draw(examples, SIZE, Augmentation())["start"].tolist()
    for crop, start, example in zip(crops_of(examples, Augmentation()), starts, examples, strict=True):
        assert np.array_equal(crop.numpy(), wave(example.clips[0])[start : start + SIZE])


def test_a_short_clip_is_repeated_from_its_start() -> None:
    example = crop_examples(CLIPS[:1], 1, 0)
    whole = wave(CLIPS[0])
    expected = np.resize(whole, 20_000)
    assert np.array_equal(crops_of(example, Augmentation(), 20_000)[0].numpy(), expected)


def test_noise_has_the_ratio_drawn() -> None:
    examples = crop_examples(CLIPS, 1, 0)
    noisy = crops_of(examples, Augmentation(noise_db=(10.0, 10.0)))
    clean = crops_of(examples, Augmentation())
    ratio = 10 * torch.log10(clean.square().sum(1) / (noisy - clean).square().sum(1))
    assert torch.allclose(ratio, torch.full_like(ratio, 10.0), atol=0.1)


def test_speed_moves_the_pitch() -> None:
    """A tone of 400 Hz played a quarter faster is one of 500 Hz."""
    augmentation = Augmentation(speeds=(1.25,))
    tone = torch.sin(2 * torch.pi * 400 / 16_000 * torch.arange(8000))
    drawn = draw(crop_examples(CLIPS[:1], 1, 0), 3200, augmentation)
    played = cropped(Batch(tone[None], torch.tensor([8000]), drawn), 3200, augmentation).values[0]
    assert int(torch.fft.rfft(torch.hann_window(3200) * played).abs().argmax()) == 500 * 3200 // 16_000


def test_reverberation_keeps_the_direct_sound_and_adds_a_tail() -> None:
    augmentation = Augmentation(reverberation_seconds=(0.2, 0.2))
    impulse = draw(crop_examples(CLIPS[:1], 1, 0), SIZE, augmentation)["impulse"][0]
    assert impulse[0] == 1
    assert impulse[1:].square().sum() == pytest.approx(1, abs=1e-5)
    halves = impulse[1:].chunk(2)
    assert halves[0].square().sum() / halves[1].square().sum() == pytest.approx(10**3, rel=0.5), "30 dB in half of it"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"noise_db": (5.0,)}, r"noise_db in \[augmentation\] is \[5.0\]"),
        ({"noise_db": (9.0, 5.0)}, "noise_db"),
        ({"reverberation_seconds": (0.0, 1.0)}, "reverberation_seconds"),
        ({"speeds": (0.1,)}, r"speeds in \[augmentation\] is \[0.1\]"),
        ({"speeds": (0.905,)}, "steps of 0.01"),
    ],
)
def test_what_cannot_be_asked_for(table: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**table)
