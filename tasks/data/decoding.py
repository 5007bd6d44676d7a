"""The clips of a listing, decoded on every core and judged by the rules."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from grids.grid import Data
from tasks.data.audio import DecodeError, decode, samples_sha, snr_db
from tasks.data.clips import SAMPLE_RATE_HZ
from tasks.data.common_voice import Row
from tasks.data.report import BROKEN, NOT_LOOKED_AT, Drop, Reason

LENGTH_TOLERANCE_SECONDS = 0.1
LENGTH_TOLERANCE_SHARE = 0.02
QUEUED_CLIPS_PER_THREAD = 8


@dataclass(frozen=True)
class Decoded:
    """A clip that keeps the rules: (T,) int16 samples at 16 kHz, and their hash."""

    row: Row
    wave: npt.NDArray[np.int16]
    sha: str


def decode_rows(rows: Sequence[Row], clips_folder: Path, rules: Data) -> Iterator[Decoded | Drop]:
    """Decodes every row on every core that this process may use; results come in the order of the rows.

    Threads, since libsndfile, soxr and hashlib let go of the interpreter: on two cores they decoded 2,290 MP3s of
    1.5 s (654 of 5 s at 48 kHz) a second, two processes 2,277 (607), one thread 1,382 (338). The queue is short, so
    that a slow disk does not fill the memory.
    """
    threads = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(threads)
    ahead = iter(rows)
    queue: deque[Future[Decoded | Drop]] = deque()
    try:
        for row in islice(ahead, threads * QUEUED_CLIPS_PER_THREAD):
            queue.append(pool.submit(_decode_row, row, clips_folder, rules))
        while queue:
            yield queue.popleft().result()
            for row in islice(ahead, 1):
                queue.append(pool.submit(_decode_row, row, clips_folder, rules))
    finally:
        pool.shutdown(cancel_futures=True)


def file_bytes(path: Path) -> int:
    """The file's size, -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _decode_row(row: Row, clips_folder: Path, rules: Data) -> Decoded | Drop:
    """Decodes one clip and applies the rules to what came out."""
    path = clips_folder / row.name
    try:
        wave = decode(path, rules.max_seconds)
    except DecodeError as error:
        return Drop(row.name, row.split, error.reason, str(error), file_bytes(path))
    if reason := _verdict(wave, row, rules):
        size = file_bytes(path) if reason in BROKEN else NOT_LOOKED_AT
        found = f"{snr_db(wave):.1f} dB" if reason == "too noisy" else _found(wave, row, rules)
        return Drop(row.name, row.split, reason, found, size)
    return Decoded(row, wave, samples_sha(wave))


def _verdict(wave: npt.NDArray[np.int16], row: Row, rules: Data) -> Reason | None:
    """Why decoded samples are not kept, if they are not. A cut MP3 decodes without an error to a shorter clip."""
    seconds = wave.size / SAMPLE_RATE_HZ
    if seconds > rules.max_seconds:
        return "too long"
    allowed = LENGTH_TOLERANCE_SECONDS + LENGTH_TOLERANCE_SHARE * (row.seconds or 0)
    if row.seconds is not None and seconds < row.seconds - allowed:
        return "truncated"
    if seconds < rules.min_seconds:
        return "too short"
    if not wave.any():
        return "silent"
    judged = rules.min_snr_db and row.split == "train"
    return "too noisy" if judged and snr_db(wave) < rules.min_snr_db else None


def _found(wave: npt.NDArray[np.int16], row: Row, rules: Data) -> str:
    """The length that was found beside the one that is listed, for a person."""
    seconds = wave.size / SAMPLE_RATE_HZ
    found = f"{seconds:.2f} s" if seconds <= rules.max_seconds else f"more than {rules.max_seconds:g} s"
    return found if row.seconds is None else f"{found}, listed as {row.seconds:.2f} s"
