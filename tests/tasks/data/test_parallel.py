"""Parallel corpora: four layouts on disk, one kind of release."""

from collections.abc import Callable
from pathlib import Path

import pytest

from grids.errors import UserError
from grids.grid import Data
from tasks.data.__main__ import main
from tasks.data.cldr import sentences
from tasks.data.common_voice import read_language
from tasks.data.parallel import layout_of, open_parallel, shares_found
from tasks.data.prepare import prepare
from tasks.data.store import open_language
from tests.tasks.data.hostile import plain_release, write_tone

pytestmark = pytest.mark.usefixtures("cache")
SENTENCES = {"fr_fr": ("un", "deux", "trois"), "cmn_hans_cn": ("一", "二", "三")}


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def tone(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tone(path, 0.6, 16_000)


def fleurs(root: Path) -> Path:
    """Two languages, three sentences, one of which one language has in train and the other in test; no header."""
    folder = root / "fleurs"
    for language, texts in SENTENCES.items():
        for number, text in enumerate(texts):
            split = ("train", "dev", "test" if language == "fr_fr" else "train")[number]
            table, name = folder / language / f"{split}.tsv", f"{language}{number}.wav"
            tone(folder / language / "audio" / split / name)
            old = table.read_text(encoding="utf-8") if table.is_file() else ""
            row = f"{number}\t{name}\t{text}\t{text}\tx\t9600\tFEMALE\n"
            table.write_text(old + row, encoding="utf-8")
    return folder


def covost(root: Path) -> Path:
    """English to two languages and French to English; of four English clips, two of one sentence, one is missing."""
    folder = root / "covost"
    for name in ("a", "b", "c"):
        tone(folder / "en" / "clips" / f"{name}.wav")
    tone(folder / "fr" / "clips" / "f.wav")
    texts = [("a.wav", "yes"), ("b.wav", "yes"), ("c.wav", "no"), ("d.wav", "gone")]
    write(folder / "en" / "validated.tsv", [("path", "sentence"), *texts])
    write(folder / "fr" / "validated.tsv", [("path", "sentence"), ("f.wav", "oui")])
    header = ("path", "translation", "split", "client_id")
    for target, yes, no in (("zh-CN", "是", "不"), ("de", "ja", "nein")):
        rows = [("a.wav", yes, "train", "s"), ("b.wav", yes, "train", "t"), ("c.wav", no, "test", "u")]
        write(folder / "en" / f"covost_v2.en_{target}.tsv", [header, *rows, ("d.wav", "?", "dev", "v")])
    write(folder / "fr" / "covost_v2.fr_en.tsv", [header, ("f.wav", "yes", "test", "w")])
    return folder


def mass(root: Path) -> Path:
    """Forty verses of one chapter; Spanish lacks the last, and names the book otherwise."""
    folder = root / "mass"
    for language, book, key, verses in (("english", "Acts", "ENG", 40), ("spanish", "Hechos", "SPN", 39)):
        for verse in range(1, verses + 1):
            stem = f"B05___07_{book}______{key}DA_verse_{verse}"
            tone(folder / language / "wav" / f"{stem}.wav")
            text = folder / language / "txt" / f"{stem}.txt"
            text.parent.mkdir(exist_ok=True)
            text.write_text(f"{book} {verse}\n", encoding="utf-8")
    return folder


def generic(root: Path) -> Path:
    folder = root / "mine"
    rows = [("item", "language", "path", "split", "sentence", "client_id")]
    for language in ("no", "fy-NL"):
        for number in range(3):
            tone(folder / "wav" / f"{language}{number}.wav")
            split = ("train", "dev", "test")[number]
            rows.append(
                (
                    f"m{number}",
                    language,
                    f"wav/{language}{number}.wav",
                    split,
                    f"{language} {number}",
                    f"{language}{number}",
                )
            )
    write(folder / "parallel.tsv", rows)
    return folder


def items(release: Path, language: str) -> dict[str, tuple[str, str]]:
    """File -> item and split."""
    return {row.name: (row.item, row.split) for row in read_language(release, language).rows}


def translations(release: Path) -> dict[str, dict[str, str]]:
    header, *rows = [line.split("\t") for line in (release / "translations.tsv").read_text("utf-8").splitlines()]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize(
    ("make", "name"),
    [(fleurs, "FLEURS"), (covost, "CoVoST 2"), (mass, "MaSS"), (generic, "parallel.tsv"), (plain_release, None)],
)
def test_a_folder_is_recognised_by_what_it_looks_like(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    layout = layout_of(make(tmp_path))
    assert (layout.name if layout else None) == name


def test_fleurs_is_read_without_header_and_split_by_sentence(tmp_path: Path) -> None:
    release = open_parallel(fleurs(tmp_path))
    assert release
    chinese = items(release, "cmn_hans_cn")
    assert chinese["cmn_hans_cn2.wav"] == ("2", "test"), "a sentence that French has in test is nobody's training data"
    assert {item for item, _ in chinese.values()} == {item for item, _ in items(release, "fr_fr").values()}
    assert translations(release)["1"] == {"fr_fr": "deux", "cmn_hans_cn": "二"}
    clips = open_language(prepare(str(tmp_path / "fleurs"), ["fr_fr"], Data()).folder, "fr_fr").clips
    assert {(clip.item, clip.split, clip.gender, clip.speaker) for clip in clips} == {
        ("0", "train", "female", ""), ("1", "dev", "female", ""), ("2", "test", "female", "")
    }  # fmt: skip


def test_fleurs_still_packed_is_one_line(tmp_path: Path) -> None:
    folder = fleurs(tmp_path)
    (folder / "fr_fr" / "audio" / "test").rename(folder / "elsewhere")
    with pytest.raises(UserError, match=r"unpack .*test\.tar\.gz"):
        open_parallel(folder)


def test_covost_joins_clips_of_a_sentence_and_its_targets(tmp_path: Path) -> None:
    release = open_parallel(covost(tmp_path))
    assert release
    english = items(release, "en")
    assert english.keys() == {"a.wav", "b.wav", "c.wav"}, "what is missing is left out"
    assert english["a.wav"] == english["b.wav"] != english["c.wav"]
    assert translations(release)[english["c.wav"][0]] == {"en": "no", "zh-CN": "不", "de": "nein", "fr": ""}
    assert shares_found(release) == {"en": (4, 3), "fr": (1, 1)}


def test_covost_reports_the_share_of_paths_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(covost(tmp_path)), "--languages", "en"]) == 0
    printed = capsys.readouterr().out
    assert "en: 3 of 4 listed paths found (75%)" in printed
    assert "translations: " in printed


def test_mass_numbers_verses_alike_in_all_languages(tmp_path: Path) -> None:
    release = open_parallel(mass(tmp_path))
    assert release
    english, spanish = ({item: split for item, split in items(release, code).values()} for code in ("en", "es"))
    assert english.items() - spanish.items() == {("B05-07-040", english["B05-07-040"])}
    assert set(english.values()) == {"train", "dev", "test"}
    assert translations(release)["B05-07-003"] == {"en": "Acts 3", "es": "Hechos 3"}


def test_a_table_of_ones_own_is_enough(tmp_path: Path) -> None:
    corpus = prepare(str(generic(tmp_path)), ["no", "fy-NL"], Data())
    found = {
        code: {clip.item: clip.sentence for clip in open_language(corpus.folder, code).clips} for code in corpus.shas
    }
    assert found["no"] == {"m0": "no 0", "m1": "no 1", "m2": "no 2"}
    assert found["fy-NL"].keys() == found["no"].keys()
    assert translations(corpus.folder)["m2"] == {"no": "no 2", "fy-NL": "fy-NL 2"}


def test_a_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = generic(tmp_path)
    table = folder / "parallel.tsv"
    table.write_text(table.read_text("utf-8").replace("wav/no0.wav", "../no0.wav"), encoding="utf-8")
    with pytest.raises(UserError, match="leaves the folder"):
        open_parallel(folder)


def test_a_changed_table_is_read_again(tmp_path: Path) -> None:
    folder = generic(tmp_path)
    before = open_parallel(folder)
    assert before == open_parallel(folder)
    table = folder / "parallel.tsv"
    table.write_text(table.read_text("utf-8").replace("no 0", "another"), encoding="utf-8")
    after = open_parallel(folder)
    assert after
    assert translations(after)["m0"]["no"] == "another"


def test_items_of_sentences_leave_the_hash_of_the_data_as_it_was(tmp_path: Path) -> None:
    shas = []
    for number, columns in enumerate((True, False)):
        release = plain_release(tmp_path / str(number), ["no"])
        if not columns:
            for table in release.glob("no/*.tsv"):
                table.write_text(table.read_text("utf-8").replace("sentence_id", "other"), encoding="utf-8")
        shas.append(prepare(str(release), ["no"], Data()).shas["no"])
    assert shas[0] == shas[1]


def test_the_synthetic_sentences_are_parallel() -> None:
    catalan, turkish = sentences("ca"), sentences("tr")
    assert [s.sentence_id for s in catalan["test"]] == [s.sentence_id for s in turkish["test"]]
    same = sum(one.text == other.text for one, other in zip(catalan["test"], turkish["test"], strict=True))
    assert same == 0, "three names that are spelt alike; the task counts them"
