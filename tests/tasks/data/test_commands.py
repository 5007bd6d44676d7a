"""`python -m tasks.data`: what it prints and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from grids.errors import UserError
from grids.grid import Data
from tasks.data import common_voice
from tasks.data.__main__ import main
from tasks.data.blocks import draw_block, held_out
from tasks.data.clips import Needs
from tasks.data.feasibility import feasibility
from tasks.data.prepare import prepare
from tasks.data.store import open_language
from tests.tasks.data.hostile import Listed, hostile_release, plain_release, speakers, write_language

GENDER = Needs(classes="gender")


def uneven_release(root: Path) -> Path:
    """`ca` can give 4 samples a class for a matrix, `es` 8, `gl` none (one gender), `eu` no test set."""
    release = plain_release(root, ["ca"])
    both = [*speakers("esf", 5, "female"), *speakers("esm", 4, "male"), *speakers("esx", 30, "", clips=1)]
    test = [Listed("t.mp3", "test", "t"), Listed("u.mp3", "test", "u", gender="")]
    write_language(release, "es", [*both, *test])
    write_language(release, "gl", [*speakers("gl", 4, "male"), Listed("gt.mp3", "test", "gt")])
    write_language(release, "eu", [*speakers("euf", 2, "female"), *speakers("eum", 2, "male")])
    return release


def test_feasibility_says_what_the_draw_does(tmp_path: Path, cache: Path) -> None:
    release = uneven_release(tmp_path)
    corpus = prepare(str(release), ["ca", "es", "eu", "gl"], Data())
    found = {one.language: one for one in feasibility(release, sorted(corpus.shas), GENDER, 4, Data())}
    assert {code: one.largest for code, one in found.items()} == {"es": 8, "ca": 4, "eu": 4, "gl": 0}
    for code, one in found.items():
        clips = open_language(corpus.folder, code).clips
        if one.largest:
            assert len(draw_block(clips, GENDER, 2 * one.largest, 4, 0)) == 4 * one.largest
        with pytest.raises(UserError):
            draw_block(clips, GENDER, 2 * one.largest + 8, 4, 0)
        if one.test_clips:
            assert len(held_out(clips, GENDER, "test", 0)) == one.test_clips
        else:
            with pytest.raises(UserError):
                held_out(clips, GENDER, "test", 0)


def test_feasibility_needs_no_audio_and_names_languages_that_cannot_be_read(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = uneven_release(tmp_path)
    for clip in release.rglob("*.mp3"):
        clip.unlink()
    (release / "gl" / "dev.tsv").unlink()
    assert main(["feasibility", str(release), "--classes", "gender", "--samples", "4"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["es", "ca", "eu", "gl"]
    assert lines[1].split() == ["es", "66", "5", "4", "1", "yes", "8"]
    assert lines[-2].startswith("gl: language 'gl' of ")
    assert lines[-2].endswith("is not complete: dev.tsv is missing")
    assert lines[-1] == "2 of 4 languages can fill 2 x 4 samples and have a test set"


def test_feasibility_ends_with_0_if_every_language_serves(tmp_path: Path, cache: Path) -> None:
    release = uneven_release(tmp_path)
    assert main(["feasibility", str(release), "--languages", "ca,es", "--classes", "gender", "--samples", "4"]) == 0


def test_feasibility_knows_listed_durations(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    (all_too_short,) = feasibility(release, ["ca"], GENDER, 4, Data(min_seconds=0.7))
    assert (all_too_short.train_clips, all_too_short.largest, all_too_short.test_clips) == (0, 0, 0)


def test_report_counts_and_lists_what_was_dropped(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = str(hostile_release(tmp_path))
    rules = ["--max-seconds", "3.5", "--max-broken-share", "0.5"]
    assert main(["prepare", release, "--languages", "no,zh-CN", *rules]) == 0
    prepared = capsys.readouterr().out
    assert main(["report", release, "--languages", "no,zh-CN", "--dropped", *rules]) == 0
    report = capsys.readouterr().out
    assert prepared.splitlines()[:3] == report.splitlines()[:3]
    (line,) = (line for line in report.splitlines() if "cut.mp3" in line)
    assert line.split() == ["no", "cut.mp3", "train", "truncated", "0.65", "s,", "listed", "as", "3.00", "s"]
    assert "gender unknown: listed as female and male" in report
    assert "3 speaker in another split" in report


def test_the_report_of_a_refused_language_can_be_read(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = plain_release(tmp_path)
    for clip in (release / "ca" / "clips").iterdir():
        clip.unlink()
    with pytest.raises(UserError, match=r"24 of 24 clips \(100%\)"):
        main(["prepare", str(release), "--languages", "ca"])
    assert main(["report", str(release), "--languages", "ca"]) == 0
    assert "24 missing" in capsys.readouterr().out


def test_a_report_before_preparing_says_what_to_run(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="'ca' is not prepared under these rules; run: python -m"):
        main(["report", str(plain_release(tmp_path)), "--languages", "all"])


def grid_of(tmp_path: Path, release: Path, rules: str = "") -> str:
    """A grid file of gender recognition on a release."""
    text = f'task = "gender"\ncorpus = "{release}"\nlanguages = ["ca", "es"]\nseeds = 1\nsamples = 4\n'
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}[model]\nbackbone = 'tiny'\n[data]\n{rules}")
    return str(path)


def test_a_grid_file_says_what_the_options_would(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = uneven_release(tmp_path)
    options = ["--languages", "ca,es", "--classes", "gender", "--test-gender", "--samples", "4"]
    assert main(["feasibility", str(release), *options]) == 0
    by_options = capsys.readouterr().out
    assert main(["feasibility", grid_of(tmp_path, release)]) == 0
    assert capsys.readouterr().out == by_options


def test_a_grid_files_own_rules_lead_to_what_was_prepared_under_them(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    prepare(str(release), ["ca"], Data(max_seconds=20.0))
    assert main(["report", grid_of(tmp_path, release, "max_seconds = 20"), "--languages", "ca", "--dropped"]) == 0
    with pytest.raises(UserError, match=r"'ca' is not prepared under these rules; run: .* prepare .*mine\.toml"):
        main(["report", grid_of(tmp_path, release), "--languages", "ca"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-seconds", "9"], "--max-seconds is what the grid file says"),
        (["--languages", "ca,eu"], "unknown language of the grid 'eu'"),
    ],
)
def test_nothing_contradicts_a_grid_file(tmp_path: Path, cache: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(["prepare", grid_of(tmp_path, plain_release(tmp_path)), *options])


def test_without_a_grid_file_languages_and_samples_are_needed(tmp_path: Path, cache: Path) -> None:
    release = str(plain_release(tmp_path))
    with pytest.raises(UserError, match="--languages is missing"):
        main(["prepare", release])
    with pytest.raises(UserError, match="--samples is missing"):
        main(["feasibility", release])


def test_a_users_mistake_is_one_line(tmp_path: Path, cache: Path) -> None:
    command = [sys.executable, "-m", "tasks.data", "prepare", str(plain_release(tmp_path)), "--languages", "ca,ess"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown language of cv-corpus-22.0-2025-06-20 'ess' (did you mean 'es'?)")
    assert done.stderr.count("\n") == 1


def test_samples_that_speakers_cannot_share_are_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="--samples is 10, no multiple of --clips-per-speaker 4"):
        main(["feasibility", str(plain_release(tmp_path)), "--samples", "10"])


def test_a_broken_table_of_another_language_is_named(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    (release / "es" / "dev.tsv").write_bytes(b"client_id\tpath\n\xff\ta\n")
    with pytest.raises(UserError, match=r"es/dev\.tsv is not UTF-8"):
        common_voice.home_languages(release)
