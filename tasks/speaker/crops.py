"""Random crops of training clips, and what may be done to them: speed, reverberation, noise.

Everything that is drawn is a function of (seed, epoch, clip), whatever the batch and the worker, and is drawn on the
CPU, in the thread that puts batches together (`draw`); the device does the arithmetic (`cropped`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchaudio.functional import add_noise, fftconvolve, resample

from grids.errors import UserError
from tasks.base import Batch, Example
from tasks.data.clips import SAMPLE_RATE_HZ, Clip
from tasks.examples import keyed, shuffled

PERCENT = 100  # a speed is a whole number of hundredths, so that resampling is exact


@dataclass(frozen=True)
class Augmentation:
    """What is done to training crops; an empty list leaves it out.

    Attributes:
        noise_db: lowest and highest signal-to-noise ratio of added noise, its spectrum anything from white to brown.
        reverberation_seconds: shortest and longest reverberation time (60 dB) of a synthetic room impulse.
        speeds: factors that a clip may be played at, each as likely, e.g. [0.9, 1.0, 1.1]; the speaker stays the same.
    """

    noise_db: tuple[float, ...] = ()
    reverberation_seconds: tuple[float, ...] = ()
    speeds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("noise_db", "reverberation_seconds"):
            values = getattr(self, name)
            if values and (len(values) != 2 or values[0] > values[1]):
                raise UserError(f"{name} in [augmentation] is {list(values)}; allowed: [lowest, highest], or []")
        if any(seconds <= 0 or seconds > 5 for seconds in self.reverberation_seconds):
            raise UserError(f"reverberation_seconds is {list(self.reverberation_seconds)}; allowed: above 0, at most 5")
        if any(not 0.5 <= speed <= 2 or abs(speed * PERCENT - round(speed * PERCENT)) > 1e-6 for speed in self.speeds):
            raise UserError(f"speeds in [augmentation] is {list(self.speeds)}; allowed: 0.5 to 2 in steps of 0.01")

    @property
    def percents(self) -> tuple[int, ...]:
        """The speeds in hundredths; (100,) if none is asked for."""
        return tuple(round(speed * PERCENT) for speed in self.speeds) or (PERCENT,)


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
        drawn["noise"] = _noise(random, size)
        drawn["noise_db"] = np.float32(_between(random, augmentation.noise_db))
    if augmentation.reverberation_seconds:
        drawn["impulse"] = _impulse(random, augmentation.reverberation_seconds)
    return drawn


def _between(random: np.random.Generator, ends: tuple[float, ...]) -> float:
    """A number between two."""
    return float(ends[0] + (ends[1] - ends[0]) * random.random())


def _span(size: int, percent: int) -> int:
    """Samples that, played at a speed in hundredths, give `size`."""
    return -(-size * percent // PERCENT)


def _noise(random: np.random.Generator, size: int) -> np.ndarray:
    """(size,) float32 noise whose power falls with frequency, as f^0 (white) to f^-2 (brown)."""
    spectrum = np.fft.rfft(random.standard_normal(size))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** -random.random()
    return np.fft.irfft(spectrum, size).astype(np.float32)


def _impulse(random: np.random.Generator, seconds: tuple[float, ...]) -> np.ndarray:
    """(R,) float32: the direct sound, then noise that falls by 60 dB within the time drawn, with as much energy.

    Source: J. D. Polack's model of late reverberation, Gaussian noise with an exponential envelope (1988).
    """
    time = np.arange(round(seconds[1] * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / _between(random, seconds))
    tail[0] = 0
    impulse = tail / np.linalg.norm(tail)
    impulse[0] = 1
    return impulse.astype(np.float32)


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
