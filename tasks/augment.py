"""What may be done to training clips (speed, reverberation, noise) and to test clips (noise, their middle alone).

Crops of training clips are in `tasks.speaker.crops`.

What is drawn is a function of a key alone, whatever the batch and the worker, and is drawn on the CPU in the thread
that puts batches together; the device does the arithmetic.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import add_noise, fftconvolve

from grids.errors import UserError, require
from grids.schema import PLACE
from tasks.base import Batch, Example
from tasks.data.audio import DecodeError, decode
from tasks.data.clips import SAMPLE_RATE_HZ, Clip
from tasks.examples import keyed, shuffled

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus")
PERCENT = 100  # a speed is a whole number of hundredths, so that resampling is exact


@dataclass(frozen=True)
class Augmentation:
    """What is done to training crops; an empty list leaves it out.

    Attributes:
        noise_db: lowest and highest signal-to-noise ratio of added noise, its spectrum anything from white to brown.
        noise_folder: absolute path of recordings (any depth) that are the noise instead: pieces of one of them, drawn.
        reverberation_seconds: shortest and longest reverberation time (60 dB) of a synthetic room impulse.
        speeds: factors that a clip may be played at, each as likely, e.g. [0.9, 1.0, 1.1]; the speaker stays the same.
        noise_sha: hash of the recordings' names and sizes, which stand for them wherever they lie.
    """

    noise_db: tuple[float, ...] = ()
    reverberation_seconds: tuple[float, ...] = ()
    speeds: tuple[float, ...] = ()
    noise_folder: str = field(default="", metadata=PLACE)
    noise_sha: str = field(default="", init=False)

    def __post_init__(self) -> None:
        for name in ("noise_db", "reverberation_seconds"):
            values = getattr(self, name)
            if values and (len(values) != 2 or values[0] > values[1]):
                raise UserError(f"{name} in [augmentation] is {list(values)}; allowed: [lowest, highest], or []")
        if any(seconds <= 0 or seconds > 5 for seconds in self.reverberation_seconds):
            raise UserError(f"reverberation_seconds is {list(self.reverberation_seconds)}; allowed: above 0, at most 5")
        if any(not 0.5 <= speed <= 2 or abs(speed * PERCENT - round(speed * PERCENT)) > 1e-6 for speed in self.speeds):
            raise UserError(f"speeds in [augmentation] is {list(self.speeds)}; allowed: 0.5 to 2 in steps of 0.01")
        if self.noise_folder:
            require(bool(self.noise_db), "noise_folder in [augmentation] needs noise_db, e.g. noise_db = [0, 20]")
            names = (f"{path.relative_to(self.noise_folder)} {path.stat().st_size}" for path in self._recordings)
            object.__setattr__(self, "noise_sha", hashlib.sha256("\n".join(names).encode()).hexdigest())

    @property
    def percents(self) -> tuple[int, ...]:
        """The speeds in hundredths; (100,) if none is asked for."""
        return tuple(round(speed * PERCENT) for speed in self.speeds) or (PERCENT,)

    @property
    def _recordings(self) -> tuple[Path, ...]:
        return recordings(self.noise_folder)

    def noise(self, random: np.random.Generator, size: int) -> np.ndarray:
        """(T,) float32 noise of that size: generated, or a piece of a recording, which is repeated if it is shorter."""
        if self.noise_folder:
            wave_N = _recording(self._recordings[int(random.integers(len(self._recordings)))])
            start = int(random.integers(len(wave_N)))
            if (piece_T := wave_N.take(range(start, start + size), mode="wrap")).any():  # silence has no ratio
                return piece_T.astype(np.float32)
        return noise(random, size)


@lru_cache(maxsize=8)
def recordings(folder: str) -> tuple[Path, ...]:
    """The sound files of a folder and the folders in it, sorted.

    Raises:
        UserError: there are none, or the path is relative: workers have another working directory.
    """
    path = Path(folder)
    found = tuple(sorted(one for one in path.rglob("*") if one.suffix.lower() in SOUNDS)) if path.is_absolute() else ()
    require(bool(found), f"noise_folder in [augmentation] is {folder!r}; allowed: an absolute path of a folder with "
                         f"files {', '.join(SOUNDS)}")  # fmt: skip
    return found


@lru_cache(maxsize=32)
def _recording(path: Path) -> np.ndarray:
    """(N,) int16, a recording's samples.

    Raises:
        UserError: the file gives none.
    """
    try:
        return decode(path)
    except DecodeError as error:
        raise UserError(f"cannot read the noise {str(path)!r}: {error}") from None


def between(random: np.random.Generator, ends: tuple[float, ...]) -> float:
    """A number between two."""
    return float(ends[0] + (ends[1] - ends[0]) * random.random())


def noise(random: np.random.Generator, size: int) -> np.ndarray:
    """(T,) float32 noise of that size whose power falls with frequency, as f^0 (white) to f^-2 (brown)."""
    spectrum = np.fft.rfft(random.standard_normal(size))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** -random.random()
    return np.fft.irfft(spectrum, size).astype(np.float32)


def impulse(random: np.random.Generator, seconds: tuple[float, ...]) -> np.ndarray:
    """(R,) float32: the direct sound, then noise that falls by 60 dB within the time drawn, with as much energy.

    Source: J. D. Polack's model of late reverberation, Gaussian noise with an exponential envelope (1988).
    """
    time = np.arange(round(seconds[1] * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / between(random, seconds))
    tail[0] = 0
    impulse = tail / np.linalg.norm(tail)
    impulse[0] = 1
    return impulse.astype(np.float32)


def keyed_examples(clips: Sequence[Clip], seed: int, epoch: int) -> list[Example]:
    """Every clip once, in `shuffled` order; the label is the key of its draws."""
    examples = shuffled(clips, seed, epoch)
    keys = (keyed("augment", seed, epoch, e.clips[0].language, e.clips[0].name) for e in examples)
    return [Example(example.clips, key) for example, key in zip(examples, keys, strict=True)]


def draw_whole(examples: Sequence[Example], augmentation: Augmentation) -> dict[str, torch.Tensor]:
    """What `augmented` needs to know of whole clips: of B of `keyed_examples`, whose longest has T samples.

    Returns:
        Where asked for, `noise` (B, T), `noise_db` (B,), `impulse` (B, R), float32.
    """
    drawn: dict[str, list[torch.Tensor]] = {}
    for example in examples:
        random = np.random.Generator(np.random.PCG64(example.label))
        if augmentation.noise_db:
            drawn.setdefault("noise", []).append(torch.from_numpy(augmentation.noise(random, example.clips[0].length)))
            drawn.setdefault("noise_db", []).append(torch.tensor(between(random, augmentation.noise_db)))
        if augmentation.reverberation_seconds:
            drawn.setdefault("impulse", []).append(
                torch.from_numpy(impulse(random, augmentation.reverberation_seconds))
            )
    return {
        name: pad_sequence(own, batch_first=True) if own[0].ndim else torch.stack(own) for name, own in drawn.items()
    }


def augmented(batch: Batch, drawn: Mapping[str, torch.Tensor]) -> Batch:
    """The batch, (B, T) waves, with what `draw_whole` gave; lengths stay."""
    with torch.autocast(batch.values.device.type, enabled=False):
        waves_BT = batch.values
        if "impulse" in drawn:
            waves_BT = fftconvolve(waves_BT, drawn["impulse"])[:, : waves_BT.shape[1]]
        if "noise" in drawn:
            behind = waves_BT.shape[1] - drawn["noise"].shape[1]  # a ladder may pad waves beyond the longest clip
            waves_BT = add_noise(waves_BT, pad(drawn["noise"], (0, behind)), drawn["noise_db"], batch.lengths)
    return replace(batch, values=waves_BT)


def in_noise(batch: Batch, decibels: float) -> Batch:
    """Test clips, (K, T) waves, in white noise at that signal-to-noise ratio, drawn from a clip's samples alone."""
    found = []
    for wave_T, length in zip(batch.values.cpu().numpy(), batch.lengths.tolist(), strict=True):
        random = np.random.default_rng(zlib.crc32(np.ascontiguousarray(wave_T[:length]).tobytes()))
        found.append(torch.from_numpy(random.standard_normal(length).astype(np.float32)))
    noise_KT = torch.zeros_like(batch.values)
    for row_T, own in zip(noise_KT, found, strict=True):
        row_T[: len(own)] = own.to(row_T)
    ratio_K = torch.full_like(batch.lengths, decibels, dtype=torch.float32)
    return replace(batch, values=add_noise(batch.values, noise_KT, ratio_K, batch.lengths))


def middle(batch: Batch, size: int) -> Batch:
    """The middle `size` samples of each clip, (K, T) waves, since ends are silent; a shorter clip stays whole."""
    index_S = torch.arange(min(size, batch.values.shape[1]), device=batch.values.device)
    index_KS = ((batch.lengths - size).clamp(min=0) // 2)[:, None] + index_S
    return Batch(batch.values.gather(1, index_KS), batch.lengths.clamp(max=size), batch.labels, batch.languages)
