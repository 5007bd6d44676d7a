"""One audio file to 16 kHz mono 16-bit samples."""

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tasks.data.clips import SAMPLE_RATE_HZ

SAMPLE_TYPE = np.dtype("<i2")
FULL_SCALE = 32768.0
FRAME = SAMPLE_RATE_HZ // 50


class DecodeError(Exception):
    """A file that gives no samples.

    Attributes:
        reason: "missing", "empty" (no bytes, or no samples) or "undecodable".
    """

    def __init__(self, reason: Literal["missing", "empty", "undecodable"], detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def samples_sha(wave: npt.NDArray[np.int16]) -> str:
    """The hash of a clip's samples, (T,) int16, that `Clip.sha` keeps."""
    return hashlib.blake2b(wave.data, digest_size=16).hexdigest()


def decode(path: Path, max_seconds: float = math.inf) -> npt.NDArray[np.int16]:
    """Decodes a file (MP3, WAV, FLAC, Ogg: what libsndfile reads) and resamples it.

    Channels are averaged, resampling is soxr's high quality in float32, and values are then scaled by 32768, rounded
    half to even and cut off at the int16 limits (an MP3 decoder may overshoot 1.0). A 16 kHz mono 16-bit file comes
    back bit by bit as it was.

    Args:
        path: the file.
        max_seconds: reading stops one second later, so that a file of hours does not fill the memory.

    Returns:
        (T,) int16 little-endian, 16 kHz.

    Raises:
        DecodeError: no such file, no samples in it, or nothing that can be decoded.
    """
    data, rate_hz = _read(path, max_seconds)
    if not data.size:
        raise DecodeError("empty", "no samples")
    if not np.isfinite(data).all():
        raise DecodeError("undecodable", "samples that are no numbers")
    wave = data.mean(axis=1) if data.shape[1] > 1 else data[:, 0]
    if rate_hz != SAMPLE_RATE_HZ:
        wave = soxr.resample(wave, rate_hz, SAMPLE_RATE_HZ)
    return np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(SAMPLE_TYPE)


def snr_db(wave: npt.NDArray[np.int16]) -> float:
    """Estimates the signal-to-noise ratio of speech: the power of its loud frames over that of its quiet ones.

    The 95th percentile of the power of 20 ms frames is taken for speech and noise, the 10th for noise: speech has
    pauses, and what is left in them is noise. A clip without pauses reads too low.

    Args:
        wave: (T,) int16, 16 kHz.

    Returns:
        Decibels; quiet frames count as one step of the samples at least.
    """
    size = min(FRAME, wave.size)
    frames = wave[: wave.size // size * size].reshape(-1, size).astype(np.float64)
    loud, quiet = np.maximum(np.percentile(np.square(frames).mean(1), [95, 10]), 1.0)
    return float(10 * np.log10(max(loud - quiet, 1.0) / quiet))


def _read(path: Path, max_seconds: float) -> tuple[npt.NDArray[np.float32], int]:
    """The samples (T, channels) as the file has them, and its rate."""
    try:
        if path.stat().st_size == 0:
            raise DecodeError("empty", "the file has no bytes")
        with soundfile.SoundFile(path) as file:
            rate_hz = int(file.samplerate)
            frames = math.ceil(min((max_seconds + 1) * rate_hz, file.frames))
            return file.read(frames, dtype="float32", always_2d=True), rate_hz
    except FileNotFoundError:
        raise DecodeError("missing", "no such file") from None
    except soundfile.LibsndfileError as error:
        # libsndfile calls an existing file that it cannot identify "does not exist".
        known = "does not exist" not in error.error_string
        raise DecodeError("undecodable", error.error_string if known else "no audio that libsndfile knows") from None
    except (OSError, RuntimeError, ValueError, MemoryError) as error:  # MemoryError: of a length that no file has
        raise DecodeError("undecodable", str(error)) from None
