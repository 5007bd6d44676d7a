"""The synthetic corpus: its layout, its bytes, and whether its clips can be learnt from."""

import contextlib
import os
import subprocess
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="the extra 'synthetic' is not installed")
pytest.importorskip("babel", reason="the extra 'synthetic' is not installed")

from grids.errors import UserError
from tasks.data import espeak
from tasks.data.cldr import KEYS, SENTENCES, sentences
from tasks.data.synthetic import LANGUAGES, Part, Size, _recordings, ensure

pytestmark = pytest.mark.slow

SMALL = Size(train=Part(3, 3), dev=Part(1, 2), test=Part(2, 2))
CLIPS = 2 * (3 * 3 + 1 * 2 + 2 * 2)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure(["ka", "zh"], tmp_path_factory.mktemp("corpus"), size=SMALL)


def test_splits_have_their_size_both_genders_and_speakers_of_their_own(release: Path):
    speakers = {}
    for split, part in (("train", SMALL.train), ("dev", SMALL.dev), ("test", SMALL.test)):
        rows = table(release / "zh" / f"{split}.tsv")
        clips = Counter((row["gender"], row["client_id"]) for row in rows)
        assert set(clips.values()) == {part.clips}
        assert Counter(gender for gender, _ in clips) == {
            g: part.speakers for g in ("female_feminine", "male_masculine")
        }
        speakers[split] = {row["client_id"] for row in rows}
    assert len(set.union(*speakers.values())) == sum(map(len, speakers.values()))


def test_tables_agree_with_each_other_and_with_the_decoded_clips(release: Path):
    folder = release / "ka"
    validated = table(folder / "validated.tsv")
    assert validated == [row for split in ("train", "dev", "test") for row in table(folder / f"{split}.tsv")]
    assert table(folder / "invalidated.tsv") == table(folder / "other.tsv") == []
    listed = {row["clip"]: int(row["duration[ms]"]) for row in table(folder / "clip_durations.tsv")}
    assert set(listed) == {row["path"] for row in validated} == {path.name for path in (folder / "clips").iterdir()}
    for name, milliseconds in listed.items():
        wave, rate_hz = soundfile.read(folder / "clips" / name)
        assert (rate_hz, wave.ndim) == (16_000, 1)
        assert abs(1000 * len(wave) / rate_hz - milliseconds) <= 0.5
        assert 600 < milliseconds < 4000
        assert 0.03 < wave.std() < 0.1
        assert abs(wave).max() < 1


def test_the_same_bytes_with_other_languages_and_more_processes(release: Path, tmp_path: Path):
    again = ensure(["ka"], tmp_path, size=SMALL, processes=1)
    assert files(again / "ka") == files(release / "ka")


def test_a_speaker_does_not_depend_on_the_size():
    small = {recording.path: recording.speaker for recording in _recordings("ca", SMALL)}
    large = {recording.path: recording.speaker for recording in _recordings("ca", Size())}
    assert small.items() <= large.items()


def test_what_is_there_is_not_made_again(release: Path):
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    assert ensure(["ka", "zh"], release.parent, size=SMALL) == release
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == before


def test_two_at_once_leave_one_complete_language(release: Path, tmp_path: Path):
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: ensure(["ka"], tmp_path, size=SMALL, processes=1), range(2)))
    assert folders[0] == folders[1]
    assert files(folders[0]) == {f"ka/{name}": data for name, data in files(release / "ka").items()}


def test_a_failure_leaves_nothing_behind(tmp_path: Path):
    def interrupt(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(["ka"], tmp_path, interrupt, size=SMALL)
    assert files(tmp_path) == {}
    assert list(tmp_path.rglob(".*")) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the list of processes from /proc")
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path):
    script = tmp_path / "generate.py"
    script.write_text(
        "import pathlib, tasks.data.synthetic as s\n"
        f"if __name__ == '__main__': s.ensure(['ka'], pathlib.Path({str(tmp_path)!r}), lambda *_: print(flush=True))"
    )
    marker = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "CLTM_TEST": str(tmp_path)}
    process = subprocess.Popen([sys.executable, script], env=marker, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert len(running(str(tmp_path))) > 1
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while running(str(tmp_path)) and time.monotonic() < until:
        time.sleep(0.05)
    assert running(str(tmp_path)) == []


def running(marker: str) -> list[str]:
    """The processes that were started with the marker in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"CLTM_TEST={marker}".encode() in environment.read_bytes().split(b"\0"):
                found.append(environment.parent.name)
    return found


def test_progress_counts_clips_up_to_the_total(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    ensure(["eo", "eo"], tmp_path, lambda done, total: seen.append((done, total)), size=SMALL)
    assert seen == [(done, CLIPS) for done in range(1, CLIPS + 1)]


def test_unknown_language_is_named_with_the_nearest(tmp_path: Path):
    with pytest.raises(UserError, match=r"'eng'.*did you mean 'en'.*allowed: ar, be"):
        ensure(["eng"], tmp_path)


@pytest.mark.parametrize("package", ["espeakng_loader", "babel"])
def test_missing_extra_says_how_to_install_it(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}.*pip install 'cltm-engine\[synthetic\]'"):
        ensure(["ca"], tmp_path)
    assert files(tmp_path) == {}


def test_default_size_serves_blocks_of_the_demo():
    """Two blocks of 60 clips a gender at 4 a speaker take 30 speakers; two of 400 at 10 a speaker take 80."""
    train = Size().train
    assert train.speakers >= 2 * 30
    assert 2 * train.speakers >= 80 * 3 // 2
    assert train.clips >= 10


def test_sentences_are_parallel_between_languages_and_disjoint_between_splits():
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 42
    english = sentences("en")
    for language in LANGUAGES:
        own = sentences(language)
        for split in SENTENCES:
            assert [s.sentence_id for s in own[split]] == [s.sentence_id for s in english[split]]
    identifiers = [sentence.sentence_id for split in SENTENCES for sentence in english[split]]
    assert len(identifiers) == len(set(identifiers)) == sum(SENTENCES.values())
    assert len(KEYS) == len(set(KEYS)) == 150


def test_speakers_read_no_sentence_twice_and_all_are_read_equally_often():
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for recording in _recordings("ca", Size()):
        counts[recording.speaker.client_id][recording.sentence.sentence_id] += 1
        counts[recording.split][recording.sentence.sentence_id] += 1
    times = {split: set(counts.pop(split).values()) for split in SENTENCES}
    assert times == {"train": {2}, "dev": {1}, "test": {2}}
    assert all(set(counter.values()) == {1} for counter in counts.values())


def test_japanese_is_spoken_from_kana():
    spoken = "".join(sentence.spoken for part in sentences("ja").values() for sentence in part)
    assert not [character for character in spoken if unicodedata.name(character).startswith("CJK UNIFIED")]
    assert "語" in "".join(sentence.text for sentence in sentences("ja")["train"])


def test_every_variant_says_the_same_again_after_another_text():
    for variants in espeak.VARIANTS.values():
        for variant in variants:
            voice = espeak.Voice("ca", variant, 50, 50, 175)
            first = espeak.speak("dilluns armeni", voice)
            espeak.speak("wolof", espeak.Voice("en", "f4", 20, 60, 150))
            assert len(first) > espeak.RATE_HZ / 4
            assert np.array_equal(first, espeak.speak("dilluns armeni", voice)), variant


def test_unknown_voice_is_refused():
    with pytest.raises(RuntimeError, match=r"no voice 'xx\+m1'"):
        espeak.speak("one", espeak.Voice("xx", "m1", 50, 50, 175))
