"""Lists that somebody else made: three formats, names with and without suffix, errors that name the line."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from grids.errors import UserError
from grids.schema import from_table
from tasks.base import Tests
from tasks.speaker import pair_lists
from tasks.speaker.pair_lists import read_list
from tasks.speaker.verification import PairOptions, draw_pairs, pairs_of, score_embeddings, speaker_needs
from tests.tasks.waves import make_clips

CLIPS = make_clips("no", "test", speakers=4, clips_each=3)
FOREIGN = make_clips("zh-CN", "test", speakers=2, clips_each=2)
A, B, C = (CLIPS[number].name for number in (0, 1, 3))


def written(folder: Path, text: str) -> Path:
    path = folder / "no.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"1 {A} {B}\n0 {B} {C}\n",
        f"{A} {B} target\n{B} {C} nontarget\n",
        f"{A} {B} 1\n{B}\t{C}  0",
        f"{A} {B} 1\r\n{B} {C} 0\r\n",
        f"1 {A.removesuffix('.mp3')} no/{B}\n0 no/{B.removesuffix('.mp3')} {C}\n",
    ],
)
def test_every_format_gives_the_same_pairs(tmp_path: Path, text: str) -> None:
    left, right, same = read_list(written(tmp_path, text), CLIPS)
    assert (left.tolist(), right.tolist(), same.tolist()) == ([0, 1], [1, 3], [True, False])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"1 {A} {B}\n0 {A} nobody.wav\n", r"no\.txt:2: 'nobody\.wav' is no test clip that is scored here$"),
        (f"1 {A} {B}\n0 zh-CN/x.wav {A}\n", r"no\.txt:2: 'zh-CN/x\.wav' .*evaluate = 'all'"),
        (f"1 {A} {B}\n\n0 {A} {C}\n", r"no\.txt:2: '' is no pair; needed is label a b"),
        (f"1 {A} {B}\n2 {A} {C}\n", r"no\.txt:2: '2 no-.*' is no pair"),
        (f"1 {A} {B}\n0 {A}\n", r"no\.txt:2: .* is no pair"),
        (f"1 {A} {B} 3\n", r"no\.txt:1: .* is no pair"),
        (f"1 {A} {B}\n0 {A} {C} 3 4 5\n", r"cannot read the pairs in .*no\.txt.*line 2"),
        (f"{A} {B}\n", r"no\.txt:1: .* is no pair"),
        (f"1 {A} {B}\n", "all 1 pairs are of one kind"),
        ("", "is empty"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_list(written(tmp_path, text), CLIPS)


def test_lines_are_counted_through_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_lists, "LINES_AT_ONCE", 2)
    lines = [f"1 {A} {B}", f"0 {A} {C}"] * 3
    left, right, same = read_list(written(tmp_path, "\n".join(lines)), CLIPS)
    assert (left.tolist(), right.tolist(), same.tolist()) == ([0] * 6, [1, 3] * 3, [True, False] * 3)
    with pytest.raises(UserError, match=r"no\.txt:7: 'who'"):
        read_list(written(tmp_path, "\n".join([*lines, f"1 who {A}"])), CLIPS)


def test_a_missing_list_and_a_relative_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the pairs in .*no\.txt.*No such file"):
        pairs_of(CLIPS, PairOptions(pairs=str(tmp_path)))
    with pytest.raises(UserError, match="absolute path"):
        PairOptions(pairs="lists")


def test_the_hash_is_that_of_the_file_and_goes_with_the_predictions(tmp_path: Path) -> None:
    path = written(tmp_path, f"1 {A} {B}\n0 {B} {C}\n")
    options, outputs = PairOptions(str(tmp_path)), tuple({"embedding": row} for row in np.eye(len(CLIPS)) + 0.1)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    scored = score_embeddings({"no": Tests(CLIPS, outputs)}, options=options)
    assert set(scored.predictions["pairs_sha"]) == {pairs_of(CLIPS, options).sha}
    assert pairs_of(CLIPS, options).sha == sha
    path.write_text(path.read_text() + f"0 {A} {C}\n")
    assert pairs_of(CLIPS, options).sha != sha


def test_another_list_is_another_configuration(tmp_path: Path) -> None:
    (tmp_path / "no.txt").write_text("a.wav b.wav 1\n")
    one = PairOptions(pairs=str(tmp_path))
    assert asdict(one) == asdict(PairOptions(pairs=str(tmp_path)))
    (tmp_path / "no.txt").write_text("a.wav b.wav 0\n")
    assert asdict(one) != asdict(PairOptions(pairs=str(tmp_path)))
    with pytest.raises(UserError, match="unknown key 'lists_sha'"):
        from_table(PairOptions, {"lists_sha": ""})


def test_dev_pairs_are_drawn_and_genders_are_needed_for_drawn_pairs_alone(tmp_path: Path) -> None:
    dev, options = make_clips("no", "dev"), PairOptions(str(tmp_path))
    assert pairs_of(dev, options).sha == draw_pairs(dev).sha
    assert speaker_needs(PairOptions()).test_gender
    assert not speaker_needs(options).test_gender


def test_pairs_that_cross_languages_are_scored_apart(tmp_path: Path) -> None:
    other = FOREIGN[0].name
    lines = [f"1 {A} {B}", f"0 {A} {C}", f"1 {A} zh-CN/{other}", f"0 {B} zh-CN/{other}"]
    written(tmp_path, "\n".join(lines))
    embeddings = np.eye(16)
    embeddings[[1, 12]] = embeddings[0]  # B and the foreign clip sound like A
    outputs = [{"embedding": row} for row in embeddings]
    tests = {"no": Tests(CLIPS, tuple(outputs[:12])), "zh-CN": Tests(FOREIGN, tuple(outputs[12:]))}
    (tmp_path / "zh-CN.txt").write_text(f"1 {other} {FOREIGN[1].name}\n0 {other} {FOREIGN[2].name}\n")
    scored = score_embeddings(tests, options=PairOptions(str(tmp_path)))
    auc = {s.condition: (s.value, s.n_test) for s in scored.scores if (s.language, s.metric) == ("no", "auc")}
    assert auc[""] == (0.75, 4)
    assert auc["same language"] == (1.0, 2)
    assert auc["different languages"] == (0.5, 2)
    pairs_of(CLIPS, PairOptions(str(tmp_path)), alone=True)
    with pytest.raises(UserError, match="evaluate = 'all'"):
        pairs_of(CLIPS, PairOptions(str(tmp_path)))
