"""Reading what a release lists."""

from pathlib import Path

import pytest

from grids.errors import UserError
from tasks.data import common_voice
from tests.tasks.data.hostile import NEW_COLUMNS, Listed, hostile_release, plain_release, write_language, write_table


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_release(tmp_path_factory.mktemp("hostile"))


def test_sentences_are_read_as_they_are_written(release: Path) -> None:
    rows = {row.name: row for row in reversed(common_voice.read_language(release, "no").rows)}
    sentences = [rows[f"odd{number}.mp3"].sentence for number in range(6)]
    assert sentences == ['"Quoted, and never closed', "NA", "null", "it''s\u2028one line", "தமிழ்", "  spaces  "]


def test_a_line_with_another_number_of_fields_is_malformed_and_takes_no_other_row_with_it(release: Path) -> None:
    listing = common_voice.read_language(release, "no")
    lines = (release / "no" / "train.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert listing.malformed == ((f"train.tsv:{len(lines)}", "train"),)
    assert sum(row.split == "train" for row in listing.rows) == len(lines) - 2


def test_genders_of_old_and_new_releases_become_female_male_or_unknown(release: Path) -> None:
    new = {row.name: row.gender for row in common_voice.read_language(release, "no").rows}
    assert [new[f"gender{number}.mp3"] for number in range(6)] == ["male", "", "", "", "", ""]
    assert new["odd1.mp3"] == "female"
    old = {row.name: row.gender for row in common_voice.read_language(release, "zh-CN").rows}
    assert old == {"old_f.mp3": "female", "old_m.mp3": "male", "old_o.mp3": ""}


def test_old_columns_are_understood_and_missing_ones_are_empty(release: Path) -> None:
    row = common_voice.read_language(release, "zh-CN").rows[0]
    assert (row.name, row.accents, row.variant) == ("old_f.mp3", "north", "")


def test_listed_durations_are_seconds(release: Path) -> None:
    rows = common_voice.read_language(release, "no").rows
    seconds = {row.name: row.seconds for row in common_voice.with_seconds(release, "no", rows)}
    assert (seconds["long.mp3"], seconds["odd1.mp3"]) == (4.0, 0.6)
    assert [row.seconds for row in common_voice.read_language(release, "zh-CN").rows] == [None] * 3


def test_votes_for_and_against_make_a_margin_and_what_is_no_number_counts_nothing(tmp_path: Path) -> None:
    folder = write_language(tmp_path, "ca", [Listed("a.mp3"), Listed("b.mp3"), Listed("c.mp3")])
    columns = "path\tsentence\tup_votes\tdown_votes"
    lines = ("a.mp3\tx\t5\t2", "b.mp3\tx\t2\t", "c.mp3\tx\tmany\t1")
    (folder / "train.tsv").write_text("\n".join([columns, *lines, ""]), encoding="utf-8")
    assert [row.vote_margin for row in common_voice.read_language(tmp_path, "ca").rows] == [3, 2, -1]


def test_windows_line_ends_and_a_byte_order_mark_are_not_text(tmp_path: Path) -> None:
    folder = write_language(tmp_path, "ca", [Listed("a.mp3", accent="x")], columns=["path", "sentence", "accent"])
    text = (folder / "train.tsv").read_text(encoding="utf-8")
    (folder / "train.tsv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (row,) = common_voice.read_language(tmp_path, "ca").rows
    assert (row.name, row.accents) == ("a.mp3", "x")


def test_a_speaker_of_several_languages_is_at_home_where_most_clips_are_and_ties_go_to_the_first_code(
    release: Path, cache: Path
) -> None:
    assert common_voice.home_languages(release) == {"guest": "cmn_hans_cn", "tie": "cmn_hans_cn"}
    assert common_voice.visitors(release, "no") == {"guest", "tie"}
    assert common_voice.visitors(release, "cmn_hans_cn") == frozenset()


def test_homes_are_kept_until_a_table_changes(tmp_path: Path, cache: Path) -> None:
    release = plain_release(tmp_path)
    assert common_voice.home_languages(release) == {}
    write_language(release, "an", [Listed(f"an{number}.mp3", client_id="caf0") for number in range(5)])
    assert common_voice.home_languages(release) == {"caf0": "an"}
    assert len(list((cache / "homes").iterdir())) == 2
    assert common_voice.home_languages(release) == {"caf0": "an"}
    assert len(list((cache / "homes").iterdir())) == 2


def test_a_folder_that_is_no_release_gets_told_which_is(tmp_path: Path) -> None:
    release = plain_release(tmp_path / "data")
    with pytest.raises(UserError, match=rf"one language; give the one above: {release}$"):
        common_voice.open_release(release / "ca")
    with pytest.raises(UserError, match=rf"did you mean {release}\?"):
        common_voice.open_release(release.parent)
    with pytest.raises(UserError, match="'synthetic' or the folder that holds one folder a language"):
        common_voice.open_release(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no language; a corpus is"):
        common_voice.open_release(tmp_path)
    assert common_voice.open_release(release) == release


def test_an_unknown_language_is_named_with_the_nearest_and_the_allowed_ones(release: Path) -> None:
    with pytest.raises(UserError, match=r"'zh-TW' \(did you mean 'zh-CN'\?\); allowed: cmn_hans_cn, no, zh-CN"):
        common_voice.read_language(release, "zh-TW")


@pytest.mark.parametrize("missing", ["train.tsv", "dev.tsv", "test.tsv"])
def test_a_missing_split_file_is_a_users_error(tmp_path: Path, missing: str) -> None:
    release = plain_release(tmp_path, ["ca"])
    (release / "ca" / missing).unlink()
    with pytest.raises(UserError, match=f"'ca' of .* is not complete: {missing} is missing"):
        common_voice.read_language(release, "ca")


def test_a_table_without_paths_or_in_another_encoding_is_a_users_error(tmp_path: Path) -> None:
    folder = write_language(tmp_path, "ca", [])
    write_table(folder / "dev.tsv", ["client_id", "sentence"], [])
    with pytest.raises(UserError, match=r"dev\.tsv has no column 'path'; its columns: client_id, sentence"):
        common_voice.read_language(tmp_path, "ca")
    write_table(folder / "dev.tsv", NEW_COLUMNS, [])
    (folder / "test.tsv").write_bytes("client_id\tpath\ns\tñ\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"test\.tsv is not UTF-8"):
        common_voice.read_language(tmp_path, "ca")
