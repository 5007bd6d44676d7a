"""Release to prepared store, and what can go wrong on the way."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from grids.errors import UserError
from grids.grid import Data
from tasks.data.audio import decode
from tasks.data.cache import new_folder, slug
from tasks.data.prepare import Corpus, prepare
from tasks.data.report import LanguageReport, read
from tasks.data.store import AUDIO, MANIFEST, REPORT, open_language
from tests.tasks.data.hostile import (
    HOSTILE_DROPS,
    NEW_COLUMNS,
    SPLITS,
    Listed,
    hostile_release,
    pitch_hz,
    plain_release,
    speakers,
    write_language,
    write_table,
    write_tone,
)

HOSTILE_CODES = ("no", "zh-CN", "cmn_hans_cn")
LENIENT = Data(max_seconds=3.5, max_broken_share=0.5)
PREPARE = (sys.executable, "-m", "tasks.data", "prepare")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLTM_CACHE", str(root / "cache"))
        yield prepare(str(hostile_release(root)), HOSTILE_CODES, LENIENT)


def report_of(corpus: Corpus, language: str) -> LanguageReport:
    return read(corpus.folder / language / REPORT)


def leftovers(cache: Path) -> list[Path]:
    return list(cache.rglob("*.tmp"))


def bytes_of(corpus: Corpus, language: str) -> tuple[bytes, bytes]:
    folder = corpus.folder / language
    return (folder / AUDIO).read_bytes(), (folder / MANIFEST).read_bytes()


def test_every_trap_is_dropped_and_listed_with_its_reason(hostile: Corpus) -> None:
    report = report_of(hostile, "no")
    found = {drop.name: drop.reason for drop in report.dropped}
    if "original.mp3" in found:  # which of two equal recordings stays is a matter of the order
        found["copy.mp3"] = found.pop("original.mp3")
    assert found == HOSTILE_DROPS
    assert len(report.dropped) == len(HOSTILE_DROPS)
    assert report.two_genders == ("both",)


def test_the_report_counts_every_listed_clip_once(hostile: Corpus) -> None:
    for language in HOSTILE_CODES:
        report = report_of(hostile, language)
        dropped = {split: sum(drop.split == split for drop in report.dropped) for split in SPLITS}
        assert report.listed == {split: report.kept[split] + dropped[split] for split in SPLITS}
        clips = open_language(hostile.folder, language).clips
        assert report.kept == {split: sum(clip.split == split for clip in clips) for split in SPLITS}
        assert sum(report.seconds.values()) == pytest.approx(sum(clip.seconds for clip in clips))


def test_each_clip_holds_its_own_recording_and_its_own_row(hostile: Corpus) -> None:
    language = open_language(hostile.folder, "no")
    for clip in language.clips:
        wave = language.wave(clip)
        name = "original.mp3" if clip.name == "copy.mp3" else clip.name
        assert np.abs(np.fft.rfft(wave)).argmax() / clip.seconds == pytest.approx(pitch_hz(name), abs=2)
    sentences = {clip.name: clip.sentence for clip in language.clips}
    assert sentences["odd1.mp3"] == "NA"
    assert sentences["odd0.mp3"] == '"Quoted, and never closed'
    assert {clip.gender for clip in language.clips if clip.speaker == "both"} == {""}


def test_no_speaker_is_in_two_splits_or_two_languages(hostile: Corpus) -> None:
    places: dict[str, set[tuple[str, str]]] = {}
    for clip in (clip for code in HOSTILE_CODES for clip in open_language(hostile.folder, code).clips):
        places.setdefault(clip.speaker, set()).add((clip.language, clip.split))
    assert {speaker: where for speaker, where in places.items() if len(where) > 1} == {}


def test_samples_are_read_only(hostile: Corpus) -> None:
    language = open_language(hostile.folder, "no")
    with pytest.raises(ValueError, match="read-only"):
        language.wave(language.clips[0])[0] = 1


def test_the_manifest_keeps_what_else_the_release_says(hostile: Corpus) -> None:
    table = pq.read_table(hostile.folder / "zh-CN" / MANIFEST).to_pylist()
    assert {row["name"]: (row["accents"], row["age"]) for row in table}["old_f.mp3"] == ("north", "teens")
    assert {clip.name: clip.accent for clip in open_language(hostile.folder, "zh-CN").clips}["old_f.mp3"] == "north"


def test_preparing_again_gives_the_same_bytes_with_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = plain_release(tmp_path)
    prepared = []
    for cores in (1, 3, 16):
        monkeypatch.setenv("CLTM_CACHE", str(tmp_path / f"cache{cores}"))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        prepared.append(prepare(str(release), ["ca", "es"], Data()))
    assert {bytes_of(corpus, "ca") for corpus in prepared} == {bytes_of(prepared[0], "ca")}
    assert [corpus.shas for corpus in prepared] == [prepared[0].shas] * 3


def test_the_order_of_rows_and_further_languages_change_nothing(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    before = bytes_of(prepare(str(release), ["ca"], Data()), "ca")
    table = release / "ca" / "train.tsv"
    header, *lines = table.read_text().rstrip("\n").split("\n")
    table.write_text("\n".join([header, *reversed(lines), ""]))
    write_language(release, "gl", speakers("gl", 2, "male_masculine"))
    assert bytes_of(prepare(str(release), ["gl", "es", "ca"], Data()), "ca") == before


def made_at(corpus: Corpus, language: str = "ca") -> int:
    return (corpus.folder / language / MANIFEST).stat().st_ino


def test_what_is_fresh_is_not_made_again(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    first = prepare(str(release), ["ca"], Data())
    inode = made_at(first)
    assert prepare(str(release), ["ca"], Data()) == first
    assert made_at(first) == inode


def test_a_changed_table_is_prepared_again(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    before = prepare(str(release), ["ca", "es"], Data())
    table = release / "ca" / "train.tsv"
    table.write_text(table.read_text().replace("male_masculine", "intersex"))
    after = prepare(str(release), ["ca", "es"], Data())
    assert after.shas["es"] == before.shas["es"]
    assert after.shas["ca"] != before.shas["ca"]
    assert {clip.gender for clip in open_language(after.folder, "ca").clips if clip.split == "train"} == {"female", ""}


def test_another_recording_of_a_clip_is_other_data(tmp_path: Path, cache: Path) -> None:
    one, same, other = (plain_release(tmp_path / name) for name in ("one", "same", "other"))
    write_tone(tmp_path / "another.mp3", 0.6)
    (tmp_path / "another.mp3").replace(other / "ca" / "clips" / "caf0_0.mp3")
    shas = [prepare(str(release), ["ca", "es"], Data()).shas for release in (one, same, other)]
    assert shas[0] == shas[1]
    assert shas[0]["ca"] != shas[2]["ca"]
    assert shas[0]["es"] == shas[2]["es"]


def test_a_broken_clip_that_was_replaced_is_prepared_again(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    clip = release / "ca" / "clips" / "caf0_0.mp3"
    whole = clip.read_bytes()
    clip.unlink()
    corpus = prepare(str(release), ["ca"], Data())
    assert report_of(corpus, "ca").dropped_by_reason == {"missing": 1}
    inode = made_at(corpus)
    prepare(str(release), ["ca"], Data())
    assert made_at(corpus) == inode
    clip.write_bytes(whole)
    prepare(str(release), ["ca"], Data())
    assert report_of(corpus, "ca").dropped == ()


def test_a_speaker_who_moves_home_is_prepared_again(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    before = prepare(str(release), ["ca"], Data())
    write_language(release, "an", [Listed(f"an{number}.mp3", client_id="caf0") for number in range(5)])
    after = prepare(str(release), ["ca"], Data())
    assert report_of(after, "ca").dropped_by_reason == {"speaker at home in another language": 4}
    assert before.folder == after.folder


def test_other_rules_never_touch_what_a_run_has_open(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    one, other = (prepare(str(release), ["ca"], Data(max_seconds=seconds)) for seconds in (20.0, 30.0))
    assert one.folder != other.folder
    assert one.shas == other.shas


def test_the_store_opens_without_the_release_and_in_another_process(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    corpus = prepare(str(release), ["ca"], Data())
    wave = decode(release / "ca" / "clips" / "caf0_0.mp3")
    shutil.rmtree(release)
    language = open_language(corpus.folder, "ca")
    (clip,) = (clip for clip in language.clips if clip.name == "caf0_0.mp3")
    assert language.wave(clip).tolist() == wave.tolist()
    assert language.sha == corpus.shas["ca"]
    code = "import sys, pathlib, tasks.data.store as s; print(s.open_language(pathlib.Path(sys.argv[1]), 'ca').sha)"
    other = subprocess.run([sys.executable, "-c", code, str(corpus.folder)], capture_output=True, text=True)
    assert other.stdout.strip() == language.sha


def test_a_language_that_is_not_prepared_or_damaged_is_a_users_error(tmp_path: Path, cache: Path) -> None:
    corpus = prepare(str(plain_release(tmp_path)), ["ca"], Data())
    with pytest.raises(UserError, match="'es' is not prepared"):
        open_language(corpus.folder, "es")
    with (corpus.folder / "ca" / AUDIO).open("ab") as file:
        file.write(b"xx")
    with pytest.raises(UserError, match="is damaged"):
        open_language(corpus.folder, "ca")


def test_too_many_broken_clips_are_refused_with_examples_and_a_list(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    for take in range(4):
        (release / "ca" / "clips" / f"caf0_{take}.mp3").write_bytes(b"")
        (release / "ca" / "clips" / f"caf1_{take}.mp3").unlink()
    with pytest.raises(
        UserError, match=r"'ca': 8 of 24 clips \(33%\) are broken, max_broken_share allows 20%"
    ) as caught:
        prepare(str(release), ["ca"], Data())
    assert "caf0_" in str(caught.value) or "caf1_" in str(caught.value)
    refused = Path(str(caught.value).rsplit(" ", 1)[1])
    assert len(json.loads(refused.read_text())["dropped"]) == 8
    assert not (refused.parent / "ca").exists()
    assert leftovers(cache) == []


def test_a_language_without_a_usable_clip_is_refused(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path, ["ca"])
    with pytest.raises(UserError, match="'ca' has no usable clip \\(24 too short\\)"):
        prepare(str(release), ["ca"], Data(min_seconds=5.0))
    for split in SPLITS:
        write_table(release / "ca" / f"{split}.tsv", NEW_COLUMNS, [])
    with pytest.raises(UserError, match=r"'ca' has no usable clip \(none is listed\)"):
        prepare(str(release), ["ca"], Data())


def test_an_unknown_language_is_refused_before_anything_is_decoded(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="unknown language"):
        prepare(str(plain_release(tmp_path)), ["ca", "xx"], Data())
    assert not (cache / "prepared").exists()


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    def interrupt(language: str, done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    release = plain_release(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepare(str(release), ["ca"], Data(), interrupt)
    assert leftovers(cache) == []
    assert [path.name for path in (cache / "prepared").rglob("*") if path.is_file()] == [".ca.lock"]


def test_progress_counts_up_to_every_clip(tmp_path: Path, cache: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    prepare(str(plain_release(tmp_path)), ["ca"], Data(), lambda *call: calls.append(call))
    assert calls == [("ca", number, 24) for number in range(1, 25)]


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    limited = f'ulimit -f 100; exec "$@" {release} --languages ca'  # no file may grow beyond 100 KiB
    done = subprocess.run(["bash", "-c", limited, "_", *PREPARE], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().split("\n")[-1].startswith("error: cannot write language 'ca'")
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(cache) == []


@pytest.mark.slow
def test_two_processes_may_prepare_the_same_language(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    alone = prepare(str(release), ["ca", "es"], Data())
    expected = bytes_of(alone, "ca"), bytes_of(alone, "es")
    shutil.rmtree(cache)
    command = [*PREPARE, str(release), "--languages", "ca,es"]
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0), ("", 0)]
    assert (bytes_of(alone, "ca"), bytes_of(alone, "es")) == expected
    assert leftovers(cache) == []


def test_without_locks_the_second_of_two_folders_replaces_the_first(tmp_path: Path) -> None:
    place = tmp_path / "ca"
    with new_folder(place) as one:
        (one / "x").write_text("one")
        with new_folder(place) as other:
            (other / "x").write_text("other")
        reader = (place / "x").open()
    assert (place / "x").read_text() == "one"
    assert reader.read() == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


def test_what_killed_processes_left_a_day_ago_is_removed(tmp_path: Path) -> None:
    for name, age_seconds in (("old", 90_000), ("new", 60)):
        folder = tmp_path / f".{name}.1-0.tmp"
        folder.mkdir()
        (folder / AUDIO).write_bytes(b"")
        then = folder.stat().st_mtime - age_seconds
        os.utime(folder / AUDIO, (then, then))
        os.utime(folder, (then, then))
    with new_folder(tmp_path / "ca"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new.1-0.tmp", "ca"]


@pytest.mark.parametrize("code", ["no", "zh-CN", "fy-NL", "cmn_hans_cn"])
def test_ordinary_codes_are_their_own_folder_names(code: str) -> None:
    assert slug(code) == code


def test_hostile_codes_get_safe_folder_names_of_their_own(tmp_path: Path, cache: Path) -> None:
    codes = ["en@Scottish English", "..", ".ca.tmp", "a/b", "a-b", "", "ñ", "n"]
    assert len({slug(code) for code in codes}) == len(codes)
    assert all("/" not in slug(code) and not slug(code).startswith(".") for code in codes)
    write_language(tmp_path / "release", "en@Scottish English", speakers("e", 2, "female"))
    corpus = prepare(str(tmp_path / "release"), ["en@Scottish English"], Data())
    assert len(open_language(corpus.folder, "en@Scottish English").clips) == 8


def test_accents_of_a_language_are_prepared_as_languages_of_their_own(tmp_path: Path, cache: Path) -> None:
    clips = [
        Listed(f"{accent}{number}.mp3", split, f"{accent}{split}{number % 2}", accent=f"{accent} English")
        for accent in ("Scottish", "Irish") for split in SPLITS for number in range(4 * SPLITS.index(split), 4)
    ] + [Listed(f"{split}.mp3", split, f"own {split}") for split in SPLITS]  # fmt: skip
    clips += [Listed(f"{split}_irish.mp3", split, f"irish {split}", accent="Irish English") for split in SPLITS]
    release = write_language(tmp_path / "release", "en", clips).parent
    codes = ["en", "en@Scottish English", "en@Irish English"]
    corpus = prepare(str(release), codes, Data())
    whole, scottish, irish = (open_language(corpus.folder, code) for code in codes)
    assert {clip.name for clip in scottish.clips} == {f"Scottish{number}.mp3" for number in range(4)}
    assert {clip.language for clip in scottish.clips} == {"en@Scottish English"}
    assert {clip.name for clip in scottish.clips} < {clip.name for clip in whole.clips}
    assert not {clip.name for clip in scottish.clips} & {clip.name for clip in irish.clips}
    assert len(set(corpus.shas.values())) == 3
    assert read(corpus.folder / slug("en@Scottish English") / REPORT).listed == {"train": 4, "dev": 0, "test": 0}
    again = prepare(str(release), codes[1:2], Data())
    assert again.shas == {codes[1]: corpus.shas[codes[1]]}


def test_noisy_clips_are_dropped_from_training_alone(tmp_path: Path, cache: Path) -> None:
    splits = {"a": "train", "b": "train", "c": "test"}
    listed = [Listed(name, split, f"speaker {split}") for name, split in splits.items()]
    folder = write_language(tmp_path / "release", "ca", listed)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for name, level in (("a", 0.01), ("b", 1.0), ("c", 0.9)):  # half a second of speech, half of noise
        wave = noise * np.repeat([1.0, level], 8000)
        soundfile.write(folder / "clips" / f"{name}.mp3", wave, 16_000, format="MP3")
    (folder / "clip_durations.tsv").unlink()
    corpus = prepare(str(tmp_path / "release"), ["ca"], Data(min_snr_db=15.0))
    assert {clip.name for clip in open_language(corpus.folder, "ca").clips} == {"a.mp3", "c.mp3"}
    (drop,) = read(corpus.folder / "ca" / REPORT).dropped
    assert (drop.name, drop.reason) == ("b.mp3", "too noisy")


def test_nothing_in_the_data_layer_imports_torch_or_ray() -> None:
    modules = " ".join(f"tasks.data.{path.stem}" for path in Path("tasks/data").glob("*.py") if path.stem != "__init__")
    code = f"import importlib, sys; [importlib.import_module(m) for m in '{modules}'.split()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "ray", "transformers"} & set(loaded) == set()
