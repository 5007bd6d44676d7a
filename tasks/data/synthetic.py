"""A synthetic corpus in Common Voice layout, so that everything can run on a machine without network or recordings.

`ensure(["ca", "es"], root)` makes what is missing and returns the release's folder. espeak-ng reads sentences made of
CLDR names (`cldr.py`); a speaker is one of its voices with a pitch and rate, a warp of all frequencies, an equaliser
and a level of noise of its own. Gender is then learnable but not trivial, and speakers can be told apart.

The same versions of espeakng-loader, babel, numpy, soxr and libsndfile write the same bytes, whatever other languages
are made and in however many processes. Clips are MP3s of 16 kHz and 64 kbit/s: Common Voice has 32 and 48 kHz, but
encoding is most of the work and 16 kHz takes half the time, and nobody has to resample them.

What it does not cover: bad clips, missing metadata, speakers with several languages. Leave out ja, zh and ko for a
character CTC: with 84 to 190 characters in so few words it has little to learn from.
"""

import hashlib
import importlib.util
import multiprocessing
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from grids.errors import UserError, unknown
from tasks.data import espeak
from tasks.data.cldr import Sentence, sentences
from tasks.data.clips import GENDERS, SAMPLE_RATE_HZ, Split

RECIPE = 1  # raise it with every change that changes a byte of a release

LANGUAGES = (
    "ar", "be", "bn", "ca", "cs", "cy", "de", "el", "en", "eo", "es", "et", "eu", "fa", "fi", "fr", "hi", "hu", "hy",
    "id", "it", "ja", "ka", "ko", "ky", "lt", "lv", "mt", "nl", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "tr", "uk",
    "ur", "uz", "vi", "zh",
)  # fmt: skip
ESPEAK_NAMES = {"zh": "cmn"}
_GENDER_VALUES = dict(zip(GENDERS, ("female_feminine", "male_masculine"), strict=True))
_COLUMNS = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
    "accents", "variant", "locale", "segment",
)  # fmt: skip
_SPLITS: tuple[Split, ...] = ("train", "dev", "test")
_BITRATE_LEVEL = 0.7  # of libsndfile, 0 to 1: 64 kbit/s at 16 kHz
_LOUDNESS = 0.08  # root mean square of a clip, of 1: loud enough for 16 bits, too soft to be clipped


@dataclass(frozen=True)
class Part:
    """How much a split holds: `speakers` of each gender, and the `clips` that each of them has."""

    speakers: int
    clips: int


@dataclass(frozen=True)
class Size:
    """How much a language holds.

    The default gives two blocks of 60 clips a gender at 4 clips a speaker half of the training speakers, so that each
    seed draws others; and two blocks of 400 clips at 10 clips a speaker two thirds of them.
    """

    train: Part = Part(speakers=60, clips=10)
    dev: Part = Part(speakers=10, clips=5)
    test: Part = Part(speakers=20, clips=8)

    def part(self, split: Split) -> Part:
        """The part of that split."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]

    @property
    def release(self) -> str:
        """The name of a release of this size."""
        parts = [f"{part.speakers}x{part.clips}" for part in map(self.part, _SPLITS)]
        return "-".join([f"synthetic-{RECIPE}", *parts])


@dataclass(frozen=True)
class Speaker:
    """Who speaks, as in what microphone.

    Attributes:
        client_id: 128 hexadecimal digits, as in Common Voice.
        gender: one of `GENDERS`.
        voice: what espeak-ng needs to know.
        warp: factor on all frequencies, so on the length of the vocal tract and on pitch.
        equaliser_db: gain at 7 equally spaced frequencies from 0 to 8 kHz.
        snr_db: level of speech over that of white noise.
    """

    client_id: str
    gender: str
    voice: espeak.Voice
    warp: float
    equaliser_db: tuple[float, ...]
    snr_db: float


@dataclass(frozen=True)
class Recording:
    """One clip to be made."""

    split: Split
    path: str
    speaker: Speaker
    sentence: Sentence


def ensure(
    languages: Sequence[str],
    root: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    size: Size = Size(),
    processes: int = 0,
) -> Path:
    """Makes the languages of the synthetic release that are not there yet.

    A language's folder appears when it is complete. Several processes may do this at once.

    Args:
        languages: codes out of `LANGUAGES`.
        root: folder that the release's folder is in, or will be.
        progress: called with (clips made, clips to make) after each clip.
        size: how much a language holds; each size is a release of its own.
        processes: how many work at once; 0: one for each core that this process may use.

    Returns:
        The release's folder, which holds one folder a language.

    Raises:
        UserError: a language that the corpus does not have, or the extra `synthetic` is not installed.
    """
    for language in languages:
        if language not in LANGUAGES:
            raise unknown("language of the synthetic corpus", language, LANGUAGES)
    release = root / size.release
    missing = [language for language in dict.fromkeys(languages) if not (release / language).is_dir()]
    if missing:
        _make(missing, release, size, progress or (lambda done, total: None), processes or _cores())
    return release


def _make(
    languages: Sequence[str], release: Path, size: Size, progress: Callable[[int, int], None], processes: int
) -> None:
    """Makes the languages, one after the other, each with all processes."""
    require_extra()
    recordings = {language: list(_recordings(language, size)) for language in languages}
    total, done = sum(map(len, recordings.values())), 0
    with _temporary_folder(release) as temporary, _workers(processes) as pool:
        for language in languages:
            folder = temporary / language
            (folder / "clips").mkdir(parents=True)
            milliseconds = []
            for duration in pool.map(partial(_record, folder / "clips"), recordings[language], chunksize=8):
                milliseconds.append(duration)
                done += 1
                progress(done, total)
            _write_tables(folder, language, recordings[language], milliseconds)
            _publish(folder, release / language)


@contextmanager
def _temporary_folder(release: Path) -> Iterator[Path]:
    """A folder in the release, so that what it holds can be moved to its place at one stroke."""
    folder = release / f".{uuid.uuid4().hex}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes, since espeak-ng has static state; spawned, since a fork would copy the locks of torch's threads.

    At any error they are killed first: what they made is thrown away, and a second Ctrl-C while the pool waits for them
    would leave it waiting for ever.
    """
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield pool
    except BaseException:
        for process in (pool._processes or {}).values():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent process and ends with it; without this the processes of a killed one would stay."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Waits for the parent's end, then ends this process at once."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cores() -> int:
    """The cores that this process may use; all of the machine's where the system can't say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_extra() -> None:
    """Raises a `UserError` unless the packages that the corpus is made with are there."""
    for package in ("espeakng_loader", "babel"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"the synthetic corpus needs the package {package}: pip install 'cltm-engine[synthetic]'")


def _publish(folder: Path, target: Path) -> None:
    """Moves a complete language to its place; if another process was faster, its folder holds the same.

    Raises:
        OSError: it cannot be moved there, and the place is empty.
    """
    try:
        folder.replace(target)
    except OSError:
        if not target.is_dir():
            raise


def _recordings(language: str, size: Size) -> Iterator[Recording]:
    """All clips of a language, in the order of its tables.

    The sentences of a split are read in an order of the language's own, over and over, so that all are read equally
    often and no speaker reads one twice.
    """
    texts = sentences(language)
    for number, split in enumerate(_SPLITS, start=1):
        part = size.part(split)
        order = _draw("order", language, split).permutation(len(texts[split]))
        for index in range(2 * part.speakers):
            speaker = _speaker(language, split, index)
            for clip in range(part.clips):
                sentence = texts[split][order[(index * part.clips + clip) % len(order)]]
                path = f"common_voice_{language}_{number}{index:04d}{clip:03d}.mp3"
                yield Recording(split, path, speaker, sentence)


def _speaker(language: str, split: Split, index: int) -> Speaker:
    """The split's speaker of that number: the genders take turns.

    Men's pitch settings are above women's since espeak-ng adds them to a variant's own, and the two should overlap.
    """
    draw = _draw("speaker", language, split, index)
    gender = GENDERS[index % 2]
    voice = espeak.Voice(
        language=ESPEAK_NAMES.get(language, language),
        variant=str(draw.choice(espeak.VARIANTS[gender])),
        pitch=int(draw.integers(10, 60) if gender == "female" else draw.integers(35, 85)),
        pitch_range=int(draw.integers(25, 75)),
        words_per_minute=int(draw.integers(150, 215)),
    )
    return Speaker(
        client_id=hashlib.sha512(f"{language}/{split}/{index}".encode()).hexdigest(),
        gender=gender,
        voice=voice,
        warp=float(draw.uniform(0.92, 1.08)),
        equaliser_db=(0.0, *draw.normal(0, 4, 6).tolist()),
        snr_db=float(draw.uniform(12, 28)),
    )


def _draw(*key: object) -> np.random.Generator:
    """Random numbers that are a function of the key alone."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def _record(folder: Path, recording: Recording) -> int:
    """Writes one clip into the folder and returns its duration in milliseconds. Runs in a process of the pool."""
    speaker = recording.speaker
    wave = _voiced(espeak.speak(recording.sentence.spoken, speaker.voice), speaker, _draw("noise", recording.path))
    soundfile.write(
        folder / recording.path, wave, SAMPLE_RATE_HZ, format="MP3", subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT", compression_level=_BITRATE_LEVEL,
    )  # fmt: skip
    return round(1000 * len(wave) / SAMPLE_RATE_HZ)


def _voiced(speech: NDArray[np.int16], speaker: Speaker, draw: np.random.Generator) -> NDArray[np.float64]:
    """Makes the speech the speaker's own: warped, equalised, noisy, and as loud as any other clip.

    Args:
        speech: (S,) int16 at espeak-ng's rate.
        speaker: whose voice it becomes.
        draw: where the noise comes from.

    Returns:
        (T,) float64 in [-1, 1], 16 kHz.
    """
    wave = soxr.resample(speech / 2**15, espeak.RATE_HZ * speaker.warp, SAMPLE_RATE_HZ)
    length = 2 ** len(wave).bit_length()  # a power of two is fast, and its padding keeps the filter from wrapping round
    bins = np.linspace(0, len(speaker.equaliser_db) - 1, length // 2 + 1)
    gain = 10 ** (np.interp(bins, np.arange(len(speaker.equaliser_db)), speaker.equaliser_db) / 20)
    wave = np.fft.irfft(np.fft.rfft(wave, length) * gain, length)[: len(wave)]
    wave = wave + draw.normal(0, 1, len(wave)) * wave.std() * 10 ** (-speaker.snr_db / 20)
    return np.clip(_LOUDNESS * wave / wave.std(), -1, 1)


def _write_tables(folder: Path, language: str, recordings: Sequence[Recording], milliseconds: Sequence[int]) -> None:
    """Writes a language's tables, as Common Voice names and orders their columns."""
    rows: dict[Split, list[str]] = {split: [] for split in _SPLITS}
    for recording in recordings:
        rows[recording.split].append(_row(language, recording))
    validated = [row for split in _SPLITS for row in rows[split]]
    for name, lines in (*rows.items(), ("validated", validated), ("invalidated", []), ("other", [])):
        _write_lines(folder / f"{name}.tsv", ["\t".join(_COLUMNS), *lines])
    durations = zip(recordings, milliseconds, strict=True)
    lines = [f"{recording.path}\t{duration}" for recording, duration in durations]
    _write_lines(folder / "clip_durations.tsv", ["clip\tduration[ms]", *lines])


def _row(language: str, recording: Recording) -> str:
    """One clip's line; what no one can know of a voice that was computed stays empty."""
    values = {
        "client_id": recording.speaker.client_id,
        "path": recording.path,
        "sentence_id": recording.sentence.sentence_id,
        "sentence": recording.sentence.text,
        "up_votes": "2",
        "down_votes": "0",
        "gender": _GENDER_VALUES[recording.speaker.gender],
        "locale": language,
    }
    return "\t".join(values.get(column, "") for column in _COLUMNS)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes the lines with the line ends of Common Voice on every system."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
