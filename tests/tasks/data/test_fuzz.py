"""Releases and audio of random garbage: read, dropped with a reason, or refused in words."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grids.grid import Data
from tasks.data import common_voice
from tasks.data.__main__ import main
from tasks.data.audio import DecodeError, decode
from tasks.data.clips import SAMPLE_RATE_HZ
from tasks.data.decoding import Decoded, decode_rows
from tasks.data.prepare import prepare
from tests.fuzzing import damaged, ends_well, read, words, written
from tests.tasks.data.hostile import plain_release

TABLE = b"client_id\tpath\tsentence\tgender\nspeaker\tclip.mp3\ta sentence\tfemale\nother\tclip2.mp3\t\tmale\n"
DURATIONS = b"clip\tduration[ms]\nclip.mp3\t1500\nclip2.mp3\t20\n"
RULES = Data()


def sound(kind: str) -> bytes:
    """Half a second of a tone as a file of this kind."""
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(16_000) / 10), 32_000, format=kind)
    return file.getvalue()


SOUNDS = {kind: sound(kind) for kind in ("MP3", "WAV", "FLAC", "OGG")}


@given(damaged(TABLE), damaged(DURATIONS))
@example(TABLE, "clip\tduration[ms]\nclip.mp3\t²\nclip2.mp3\t".encode() + b"9" * 400)
@example(b"path\tpath\nclip.mp3\tclip2.mp3\n", DURATIONS)
@example(b"client_id\tpath\ns\ta\x00b\n", DURATIONS)
@example(b"client_id\tpath\ns\t../../../clip.mp3\n", DURATIONS)
def test_a_damaged_release_gives_rows_that_can_be_decoded_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, table: bytes, durations: bytes
) -> None:
    release = tmp_path_factory.mktemp("release")
    (release / "ca" / "clips").mkdir(parents=True)
    for name, content in (("train.tsv", table), ("dev.tsv", TABLE), ("test.tsv", TABLE)):
        written(release / "ca", name, content)
    written(release / "ca", common_voice.DURATIONS, durations)
    listing = read(lambda: common_voice.read_language(release, "ca"))
    rows = read(lambda: common_voice.with_seconds(release, "ca", listing.rows)) if listing else None
    for row in rows or ():
        assert row.seconds is None or (math.isfinite(row.seconds) and row.seconds >= 0)
        assert Path(row.name).name == row.name
    assert all(not isinstance(clip, Decoded) for clip in decode_rows(rows or (), release / "ca" / "clips", RULES))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOUNDS)
@given(data=st.data())
def test_a_damaged_sound_gives_a_bounded_number_of_samples_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    content = data.draw(damaged(SOUNDS[kind]) | damaged(SOUNDS[kind][:64]).map(lambda head: head + SOUNDS[kind][64:]))
    path = written(tmp_path_factory.mktemp("sound"), "clip", content)
    wave = read(lambda: decode(path, 2.0), refused=DecodeError)
    assert wave is None or (wave.dtype == np.int16 and 0 < wave.size <= 3 * SAMPLE_RATE_HZ + 1)


@pytest.mark.parametrize("rate_hz", [1, 2, 100, 7_999, 2**31 - 1])
def test_an_impossible_rate_is_no_sound(tmp_path: Path, rate_hz: int) -> None:
    head = bytearray(SOUNDS["WAV"])
    head[24:28] = rate_hz.to_bytes(4, "little")
    path = written(tmp_path, "clip.wav", bytes(head))
    wave = read(lambda: decode(path, 30.0), refused=DecodeError)
    assert wave is None or wave.size <= 31 * SAMPLE_RATE_HZ + 1


@pytest.mark.parametrize("name", ["a\x00b", "x" * 300, "", ".", "..", "folder"])
def test_what_is_no_file_has_a_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DecodeError):
        decode(tmp_path / name, 2.0)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff", b'{"fingerprint": 1, "dropped": [{}]}'])
def test_a_damaged_report_in_the_cache_is_made_again(tmp_path: Path, cache: Path, damage: bytes) -> None:
    release = plain_release(tmp_path, ["ca"])
    first = prepare(str(release), ["ca"], RULES)
    (report,) = first.folder.rglob("report.json")
    report.write_bytes(damage)
    assert prepare(str(release), ["ca"], RULES).shas == first.shas
    report.write_bytes(damage)


ARGUMENTS = ["prepare", "report", "feasibility", "--languages", "--samples", "4", "--max-seconds", "--dropped",
             "--min-seconds", "1e308", "--max-train-clips", "--classes", "gender", "RELEASE", "ca"]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["prepare", "report", "feasibility"]),
    words | st.just("RELEASE"),
    st.lists(words | st.sampled_from(ARGUMENTS), max_size=6),
)
@example("prepare", "RELEASE", ["--languages", "ca", "--max-seconds", "1e308"])
@example("prepare", "RELEASE", ["--languages", "ca", "--max-seconds", "nan"])
@example("report", "~nobody/x", ["--languages", "ca"])
@example("report", "x" * 300, ["--languages", "ca"])
def test_arguments_end_in_a_status_and_one_line(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], command: str, corpus: str, rest: list[str]
) -> None:
    release = tmp_path / "cv-corpus-22.0-2025-06-20"
    if not release.exists():
        plain_release(tmp_path, ["ca"])
    arguments = [str(release) if text == "RELEASE" else text for text in (command, corpus, *rest)]
    ends_well(lambda: main(arguments), capsys)
