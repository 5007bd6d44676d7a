"""From clips to padded batches: waves of the prepared store, or cached outputs of a frozen part."""

import hashlib
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch

from grids.errors import UserError
from grids.files import replacing
from tasks.base import Batch, Example, Frozen
from tasks.data.audio import samples_sha
from tasks.data.clips import SAMPLE_RATE_HZ, Clip
from tasks.data.store import language_place, open_language
from tasks.examples import keyed

T = TypeVar("T")
R = TypeVar("R")
INT16_SCALE = 32768.0
AHEAD = 2  # batches put together before they are asked for
LONGEST = 480_000  # samples, 30 s: what Whisper hears at most; a rung, so that no clip is padded beyond it
FRAME, WINDOW = 320, 400  # samples between two frames of HuBERT's convolutions, 20 ms, and of the first one


class Inputs(Protocol):
    """What a network is fed for clips."""

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """One array a clip: (T,) or (T, D), float32."""


class Waves:
    """The waves of the prepared store."""

    def __init__(self, corpus: Path) -> None:
        self._corpus = corpus

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """(T,) float32 in [-1, 1], 16 kHz, one a clip."""
        return [np.concatenate([self._wave(part) for part in clip.parts]) for clip in clips]

    def _wave(self, clip: Clip) -> np.ndarray:
        """The wave of a clip of the store, (T,) float32."""
        samples = open_language(self._corpus, clip.language).wave(clip)
        return samples.astype(np.float32) / INT16_SCALE


class CheckedWaves(Waves):
    """The same waves, each compared with its clip's hash: what is made of it is kept under that hash."""

    def _wave(self, clip: Clip) -> np.ndarray:
        """The wave of a clip of the store, (T,) float32.

        Raises:
            UserError: a clip's samples are not those that were prepared; names it.
        """
        wave = super()._wave(clip)
        if samples_sha((wave * INT16_SCALE).astype(np.int16)) != clip.sha:
            raise UserError(
                f"the samples of the clip {clip.language}/{clip.name} are not those that were prepared: remove "
                f"{language_place(self._corpus, clip.language)} and prepare again"
            )
        return wave


class FrozenOutputs:
    """Outputs of a network's frozen part, each computed once and kept in a file named by what went in.

    A killed run loses at most the batch in flight; two runs at once write equal files. A clip without an output ends
    the trial with its name. What the folder has no room for is computed again each time it is asked for; several
    processes that fill it at once may go beyond its limit by what each of them adds.

    What a trial keeps is computed without autocast and TF32, whatever the trial's precision, so that it serves all
    trials. What is computed again while a network trains in TF32 is too.
    """

    def __init__(
        self, frozen: Frozen, waves: Inputs, folder: Path, device: torch.device, seconds: float, room: float = math.inf
    ) -> None:
        self._frozen, self._waves, self._device, self._seconds = frozen, waves, device, seconds
        self._folder = folder / hashlib.sha256(frozen.key.encode()).hexdigest()[:16]
        self._room = room
        if room < math.inf:
            self._room -= sum(path.stat().st_size for path in self._folder.rglob("*.npy"))

    def prepare(self, clips: Sequence[Clip]) -> int:
        """Computes what is missing and has room, in batches of like length, and keeps nothing from then on.

        Returns:
            How many clips were computed.
        """
        missing = list({clip.sha: clip for clip in clips if not self._path(clip).exists()}.values())
        done = 0
        for numbers in length_batches([(clip,) for clip in missing], self._seconds):
            if self._room <= 0:
                break
            self._keep([missing[number] for number in numbers])
            done += len(numbers)
        self._room = 0.0  # later on a training's TF32 may be in what is computed
        return done

    def _keep(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """The outputs of a batch, computed; those that there is room for are written."""
        arrays = []
        for clip, computed in zip(clips, self._computed(clips), strict=True):
            array = np.asarray(computed)
            array = array if array.dtype == np.float16 else array.astype(np.float32)
            arrays.append(array)
            if array.nbytes <= self._room:
                self._room -= array.nbytes
                with replacing(self._path(clip)) as partial:
                    np.save(partial, array, allow_pickle=False)
        return arrays

    @torch.no_grad()
    def _computed(self, clips: Sequence[Clip]) -> Sequence[np.ndarray]:
        """The outputs of a batch; of halves of it where that fails, be it for memory or for one clip.

        Raises:
            UserError: a clip is not what the part takes; names it.
            FloatingPointError: an output is not finite; names the clip.
            RuntimeError: an output cannot be computed; names the clip.
        """
        batch = collate(self._waves.arrays(clips)).to(self._device)
        try:
            computed = self._frozen.compute(batch)
        except Exception as error:
            if len(clips) == 1:
                kind = UserError if isinstance(error, UserError) else RuntimeError
                raise kind(f"no frozen output of the clip {clips[0].language}/{clips[0].name}: {error}") from error
        else:
            for clip, array in zip(clips, computed, strict=True):
                if not np.isfinite(array).all():
                    raise FloatingPointError(f"the frozen output of the clip {clip.language}/{clip.name} is not finite")
            return computed
        torch.cuda.empty_cache()
        middle = len(clips) // 2
        return [array for half in (clips[:middle], clips[middle:]) for array in self._computed(half)]

    def arrays(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """The outputs, (T, D) float32 or float16 each; a part that gives (D,) counts as T = 1."""
        missing = list({clip.sha: clip for clip in clips if not self._path(clip).exists()}.values())
        made: dict[str, np.ndarray] = {}
        for numbers in length_batches([(clip,) for clip in missing], self._seconds):
            part = [missing[number] for number in numbers]
            made |= {clip.sha: array for clip, array in zip(part, self._keep(part), strict=True)}
        return [np.atleast_2d(made[clip.sha] if clip.sha in made else self._kept(clip)) for clip in clips]

    def _kept(self, clip: Clip) -> np.ndarray:
        """What the file of a clip holds.

        Raises:
            UserError: it cannot be read.
        """
        try:
            kept: np.ndarray = np.load(self._path(clip), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            what = f"the frozen output of the clip {clip.language}/{clip.name} cannot be read"
            raise UserError(f"{what} ({error}): remove {self._path(clip)}") from None
        return kept

    def _path(self, clip: Clip) -> Path:
        return self._folder / clip.sha[:2] / f"{clip.sha}.npy"


def collate(arrays: Sequence[np.ndarray], ladder: float = 0.0) -> Batch:
    """Pads arrays of (T,) or (T, D) with zeros along T to one batch (K, T) or (K, T, D).

    Args:
        arrays: waves, or outputs of a frozen part.
        ladder: largest share of padding that the longest wave gets; see `rung`.
    """
    longest = max(len(array) for array in arrays)
    if arrays[0].ndim == 1:
        longest = rung(longest, ladder)
    values = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=np.float32)
    for row, array in zip(values, arrays, strict=True):
        row[: len(array)] = array
    counts = tuple(len(array) for array in arrays)
    return Batch(torch.from_numpy(values), torch.tensor(counts), counts=counts)


def rung(samples: int, share: float) -> int:
    """The length that a wave is padded to, so that lengths repeat: the next one of a ladder of lengths.

    Every rung but that of 30 s is a whole number of frames of HuBERT's convolutions. Rungs of less than 1 / `share`
    frames (0.4 s for 0.05) are one frame apart, so below that the padding may be more than `share`, but is less than a
    frame.

    Args:
        samples: length of a wave at 16 kHz, >= 0.
        share: largest share of a wave that padding adds, in [0, 1); 0: no ladder.

    Returns:
        Samples, >= `samples`; the same where `share` is 0.
    """
    if not share:
        return samples
    ladder = _ladder(share, max(samples, WINDOW).bit_length())
    return ladder[bisect_left(ladder, samples)]


@lru_cache
def _ladder(share: float, bits: int) -> tuple[int, ...]:
    """The rungs in samples, shortest first, up to one that every number of so many bits fits under."""
    frames, rungs = 1, [WINDOW]
    while rungs[-1] < 2**bits:
        frames = max(frames + 1, math.floor(frames * (1 + share)))
        rungs.append(FRAME * (frames - 1) + WINDOW)
    return tuple(sorted({*rungs, LONGEST}))


def ahead(items: Iterable[T], make: Callable[[T], R]) -> Iterator[R]:
    """Makes something of each item, in order, `AHEAD` items before it is asked for, in a thread of its own."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    waiting = deque[Future[R]]()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def length_batches(items: Sequence[Sequence[Clip]], seconds: float, ladder: float = 0.0) -> Iterator[list[int]]:
    """Groups of indices of items of like length, longest first, each of at most `seconds` with its padding.

    Args:
        items: one clip or more each, which stay together; an item is as long as its longest clip.
        seconds: of a group. An item that is longer by itself is a group of its own.
        ladder: the lengths that count are those of the ladder; see `rung`.
    """
    longest = [max(rung(clip.length, ladder) / SAMPLE_RATE_HZ for clip in item) for item in items]
    group, rows = list[int](), 0
    for number in sorted(range(len(items)), key=lambda n: (-longest[n], n)):
        if group and longest[group[0]] * (rows + len(items[number])) > seconds:
            yield group
            group, rows = [], 0
        group.append(number)
        rows += len(items[number])
    if group:
        yield group


def epoch_batches(examples: Sequence[Example], seconds: float, seed: int, epoch: int) -> list[Sequence[Example]]:
    """An epoch's examples, each once, in batches of like length of at most `seconds` with padding, in a drawn order.

    A batch has its examples in their order in the epoch; the longest one draws the batch's place.
    """
    groups = length_batches([example.clips for example in examples], seconds)

    def place(group: Sequence[int]) -> int:
        return keyed("batches", seed, epoch, *((c.language, c.name) for c in examples[group[0]].clips))

    return [[examples[number] for number in sorted(group)] for group in sorted(groups, key=place)]
