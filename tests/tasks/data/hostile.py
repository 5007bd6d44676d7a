"""Writes small releases in Common Voice layout: a plain one, and one with every trap that real releases hold."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

# fmt: off
NEW_COLUMNS = ["client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age",
               "gender", "accents", "variant", "locale", "segment"]
# fmt: on
OLD_COLUMNS = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Listed:
    """A clip to write: a tone that only this name has, and its row."""

    path: str
    split: str = "train"
    client_id: str = "s1"
    gender: str = "female_feminine"
    sentence: str = "a sentence"
    accent: str = ""
    seconds: float = 0.6
    rate_hz: int = 32_000
    channels: int = 1


def write_language(
    release: Path, code: str, clips: Sequence[Listed], columns: Sequence[str] = NEW_COLUMNS, durations: bool = True
) -> Path:
    """Writes the audio and the tables of one language and returns its folder."""
    folder = release / code
    (folder / "clips").mkdir(parents=True)
    for clip in clips:
        write_tone(folder / "clips" / file_name(clip.path), clip.seconds, clip.rate_hz, clip.channels)
    for split in SPLITS:
        write_table(folder / f"{split}.tsv", columns, (clip for clip in clips if clip.split == split))
    if durations:
        lines = [f"{file_name(clip.path)}\t{round(clip.seconds * 1000)}" for clip in clips]
        (folder / "clip_durations.tsv").write_text("\n".join(["clip\tduration[ms]", *lines, ""]), encoding="utf-8")
    return folder


def write_table(path: Path, columns: Sequence[str], clips: Iterable[Listed]) -> None:
    """Writes a split file, without quoting, as Common Voice does."""
    lines = ["\t".join(columns)]
    for clip in clips:
        values = {**vars(clip), "accents": clip.accent, "variant": "v", "age": "teens", "up_votes": "2"}
        lines.append("\t".join(str(values.get(column, "")) for column in columns))
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def file_name(path: str) -> str:
    return path if path.endswith((".mp3", ".wav")) else f"{path}.mp3"


def pitch_hz(name: str) -> float:
    return 100 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 300_000 / 100


def write_tone(path: Path, seconds: float, rate_hz: int = 32_000, channels: int = 1) -> None:
    """Writes a tone whose pitch is a function of the file's name."""
    path.write_bytes(_tone(path.name, seconds, rate_hz, channels))


@cache
def _tone(name: str, seconds: float, rate_hz: int, channels: int) -> bytes:
    """The file's bytes; kept, since most tests write the same clips."""
    wave = 0.4 * np.sin(2 * np.pi * pitch_hz(name) * np.arange(round(seconds * rate_hz)) / rate_hz)
    file = BytesIO()
    soundfile.write(file, np.repeat(wave[:, None], channels, axis=1), rate_hz, format=name.rpartition(".")[2].upper())
    return file.getvalue()


def speakers(prefix: str, count: int, gender: str, clips: int = 4, split: str = "train") -> list[Listed]:
    """Clips of `count` speakers of one gender."""
    return [
        Listed(f"{prefix}{number}_{take}.mp3", split, f"{prefix}{number}", gender)
        for number in range(count)
        for take in range(clips)
    ]


def plain_release(root: Path, codes: Sequence[str] = ("ca", "es"), held_out_speakers: int = 1) -> Path:
    """A release without traps: 2 + 2 speakers in train with 4 clips, so many of each gender in dev and test with 2."""
    release = root / "cv-corpus-22.0-2025-06-20"
    for code in codes:
        female, male = (f"{code}{letter}" for letter in "fm")
        train = speakers(female, 2, "female_feminine") + speakers(male, 2, "male_masculine")
        held_out = [
            clip
            for split in ("dev", "test")
            for clip in speakers(f"{female}_{split}", held_out_speakers, "female_feminine", 2, split)
            + speakers(f"{male}_{split}", held_out_speakers, "male_masculine", 2, split)
        ]
        write_language(release, code, [*train, *held_out])
    return release


def hostile_release(root: Path) -> Path:
    """A release with every trap; `HOSTILE_DROPS` says which clips of its language `no` must not survive, and why.

    `no` has the traps, `zh-CN` the columns and values of old releases, `cmn_hans_cn` speakers of `no`.
    """
    release = root / "cv-corpus-22.0-2025-06-20"
    folder = write_language(release, "no", [*_good_clips(), *_bad_clips()])
    _damage(folder)
    old = [
        Listed("old_f", "train", "z1", "female", accent="north"),
        Listed("old_m", "dev", "z2", "male"),
        Listed("old_o", "test", "z3", "other"),
    ]
    write_language(release, "zh-CN", old, OLD_COLUMNS, durations=False)
    away = [Listed(f"away{number}.mp3", "train", "guest", "male_masculine") for number in range(3)]
    write_language(release, "cmn_hans_cn", [*away, Listed("tied.mp3", "test", "tie"), Listed("own.mp3", "dev", "own")])
    return release


def _good_clips() -> list[Listed]:
    odd = ['"Quoted, and never closed', "NA", "null", "it''s\u2028one line", "தமிழ்", "  spaces  "]
    texts = [Listed(f"odd{number}.mp3", sentence=text) for number, text in enumerate(odd)]
    formats = [
        Listed("mono48.mp3", rate_hz=48_000),
        Listed("stereo32.mp3", channels=2),
        Listed("stereo48.mp3", rate_hz=48_000, channels=2),
        Listed("plain.wav", rate_hz=16_000),
        Listed("original.mp3", client_id="s2"),
    ]
    values = ["male_masculine", "transgender", "non-binary", "do_not_wish_to_say", "intersex", ""]
    genders = [
        Listed(f"gender{number}.mp3", client_id=f"g{number}", gender=value) for number, value in enumerate(values)
    ]
    held_out = [Listed("dev.mp3", "dev", "s_dev"), Listed("test.mp3", "test", "s_test")]
    both = [Listed("both_f.mp3", client_id="both"), Listed("both_m.mp3", client_id="both", gender="male_masculine")]
    return [*texts, *formats, *genders, *held_out, *both]


def _bad_clips() -> list[Listed]:
    names = ("missing", "empty", "garbage", "cut", "copy", "silent")
    good = Listed("odd0.mp3")
    return [
        *(Listed(f"{name}.mp3", client_id="s2", seconds=3.0 if name == "cut" else 0.6) for name in names),
        replace(good, sentence="the same file twice"),
        Listed("short.mp3", seconds=0.2),
        Listed("long.mp3", seconds=4.0),
        Listed("test_in_train.mp3", "train", "s_test"),
        Listed("test_in_dev.mp3", "dev", "s_test"),
        Listed("dev_in_train.mp3", "train", "s_dev"),
        Listed("guest.mp3", "test", "guest"),
        Listed("tie.mp3", "dev", "tie"),
    ]


HOSTILE_DROPS = {
    "missing.mp3": "missing",
    "empty.mp3": "empty",
    "garbage.mp3": "undecodable",
    "cut.mp3": "truncated",
    "copy.mp3": "duplicate samples",
    "silent.mp3": "silent",
    "odd0.mp3": "duplicate path",
    "short.mp3": "too short",
    "long.mp3": "too long",
    "test_in_train.mp3": "speaker in another split",
    "test_in_dev.mp3": "speaker in another split",
    "dev_in_train.mp3": "speaker in another split",
    "guest.mp3": "speaker at home in another language",
    "tie.mp3": "speaker at home in another language",
    "train.tsv:32": "malformed row",
}


def _damage(folder: Path) -> None:
    """Breaks the files that are to be broken, and adds a row with a tab too many."""
    clips = folder / "clips"
    (clips / "missing.mp3").unlink()
    (clips / "empty.mp3").write_bytes(b"")
    (clips / "garbage.mp3").write_bytes(bytes(range(256)) * 8)
    (clips / "cut.mp3").write_bytes((clips / "cut.mp3").read_bytes()[:4000])
    (clips / "copy.mp3").write_bytes((clips / "original.mp3").read_bytes())
    soundfile.write(clips / "silent.mp3", np.zeros(19_200), 32_000)
    with (folder / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("s1\tspill.mp3\t\ta\ttab\ttoo\tmany\t\t\t\t\t\t\t\t\t\n")
