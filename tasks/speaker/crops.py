"""Random crops of training clips, and what may be done to them: speed, reverberation, noise.

Everything that is drawn is a function of (seed, epoch, clip), whatever the batch and the worker, and is drawn on the
CPU, in the thread that puts batches together (`draw`); the device does the arithmetic (`cropped`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchaudio.functional import add_noise, fftconvolve, resample

from grids.errors import UserError
from tasks.augment import PERCENT, Augmentation, between, impulse
from tasks.base import Batch, Example
from tasks.data.clips import SAMPLE_RATE_HZ, Clip
from tasks.examples import keyed, shuffled


def crop_examples(clips: Sequence[Clip], seed: int, epoch: int) -> list[Example]:
    """Every clip once, in `shuffled` order; the label is the key of its draws."""
    examples = shuffled(clips, seed, epoch)
    keys = (keyed("crop", seed, epoch, e.clips[0].language, e.clips[0].name) for e in examples)
    return [Example(example.clips, key) for example, key in zip(examples, keys, strict=True)]


def draw(examples: Sequence[Example], size: int, augmentation: Augmentation) -> dict[str, torch.Tensor]:
    """What `cropped` needs to know of each example of `crop_examples`.

    Args:
        examples: B examples.
        size: samples of a crop.
        augmentation: what to draw beside the place of the crop.

    Returns:
        `start` and `percent`: (B,) int64, the first sample and the speed in hundredths; and, where asked for, `noise`
        (B, size), `noise_db` (B,), `impulse` (B, R), float32.
    """
    drawn = [_draw_one(example.clips[0], example.label, size, augmentation) for example in examples]
    return {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}


def _draw_one(clip: Clip, key: int, size: int, augmentation: Augmentation) -> dict[str, Any]:
    """The draws of one example."""
    random = np.random.Generator(np.random.PCG64(key))
    place = random.random()  # first, so that a crop stays where it is when noise is added
    percent = augmentation.percents[int(random.integers(len(augmentation.percents)))]
    room = max(clip.length - _span(size, percent), 0)
    drawn: dict[str, Any] = {"start": np.int64(place * (room + 1)), "percent": np.int64(percent)}
    if augmentation.noise_db:
        drawn["noise"] = augmentation.noise(random, size)
        drawn["noise_db"] = np.float32(between(random, augmentation.noise_db))
    if augmentation.reverberation_seconds:
        drawn["impulse"] = impulse(random, augmentation.reverberation_seconds)
    return drawn


def _span(size: int, percent: int) -> int:
    """Samples that, played at a speed in hundredths, give `size`."""
    return -(-size * percent // PERCENT)


def cropped(batch: Batch, size: int, augmentation: Augmentation) -> Batch:
    """A batch of crops of one length, without padding.

    Args:
        batch: whole clips, with the labels that `draw` gave.
        size: samples of a crop. A shorter clip is repeated.
        augmentation: what the labels were drawn with.

    Returns:
        (B, size) waves; the labels stay.
    """
    with torch.autocast(batch.values.device.type, enabled=False):  # resampling is a convolution
        return _cropped(batch, size, augmentation)


def _cropped(batch: Batch, size: int, augmentation: Augmentation) -> Batch:
    """See `cropped`."""
    labels = batch.labels
    waves_BT = batch.values.new_zeros(len(batch.values), size)
    for percent in augmentation.percents:  # every row at every speed: which rows need one, only the device knows
        index_BT = labels["start"][:, None] + torch.arange(_span(size, percent), device=waves_BT.device)
        cut_BT = batch.values.gather(1, index_BT % batch.lengths[:, None])
        played_BT = resample(cut_BT, percent, PERCENT)[:, :size]
        waves_BT = torch.where((labels["percent"] == percent)[:, None], played_BT, waves_BT)
    if augmentation.reverberation_seconds:
        waves_BT = fftconvolve(waves_BT, labels["impulse"])[:, :size]
    if augmentation.noise_db:
        waves_BT = add_noise(waves_BT, labels["noise"], labels["noise_db"])
    return Batch(waves_BT, torch.full_like(batch.lengths, size), labels)


def crop_size(seconds: float) -> int:
    """Samples of a crop.

    Raises:
        UserError: less than a tenth of a second.
    """
    if seconds < 0.1:
        raise UserError(f"crop_seconds in [options] is {seconds}; allowed: >= 0.1")
    return round(seconds * SAMPLE_RATE_HZ)
