"""Error rates equal jiwer's and what is worked out by hand; marked words are counted alone."""

from pathlib import Path

import jiwer
import pytest

from grids.errors import UserError
from tasks.asr.scoring import METRICS, Heard, errors, is_number, marked, marked_errors, name_rule, scores_of
from tasks.asr.text import clean
from tasks.data.clips import Clip

REFERENCES = ["el gat negre", "dos gossos", "la casa"]
HYPOTHESES = ["el gos", "dos gossos grans", "la casa"]  # 1 substitution, 1 deletion, 1 insertion, of 7 words


def clip(sentence: str, language: str = "ca") -> Clip:
    return Clip(language, "a.mp3", "s", "", sentence, "test", 0, 16_000, "")


def heard(language: str, *pairs: tuple[str, str]) -> list[Heard]:
    return [Heard(clip(said, language), clean(said, language), written) for said, written in pairs]


def values(
    language: str, *pairs: tuple[str, str], words: frozenset[str] = frozenset(), **options: str
) -> dict[str, float]:
    settings = {"unit": "script", "names": "", **options}
    found = scores_of(language, heard(language, *pairs), words=words, **settings)  # type: ignore[arg-type]
    return {score.metric: score.value for score in found}


def test_rates_are_of_the_corpus_and_not_means_of_clips() -> None:
    found = errors(REFERENCES, HYPOTHESES, words=True)
    assert (found.substitutions, found.deletions, found.insertions, found.total) == (1, 1, 1, 7)
    assert found.rate == pytest.approx(3 / 7) == jiwer.wer(REFERENCES, HYPOTHESES)
    assert errors(REFERENCES, HYPOTHESES, words=False).rate == pytest.approx(jiwer.cer(REFERENCES, HYPOTHESES))


def test_characters_count_spaces_and_marks() -> None:
    found = errors(["ab cd", "நீ"], ["abcd", "ந"], words=False)
    assert (found.deletions, found.total, found.count) == (2, 7, 2)


def test_an_empty_hypothesis_is_all_deletions_and_a_long_one_is_above_1() -> None:
    assert errors(["a b"], [""], words=True) == errors(["a b", ""], ["", ""], words=True)
    assert errors(["a b"], [""], words=True).rate == 1
    assert errors(["a"], ["x y z"], words=True).rate == 3


def test_an_empty_reference_counts_what_was_written_as_insertions() -> None:
    assert errors(["a b", ""], ["a b", "x"], words=True).rate == 0.5


def test_marked_words_have_a_rate_of_their_own() -> None:
    marks = [[False, True, True], [True, False], [False, False]]
    found = marked_errors(REFERENCES, HYPOTHESES, marks, words=True)
    assert (found.substitutions + found.deletions, found.insertions, found.total) == (2, 0, 3)


def test_all_scores_of_a_language_with_spaces() -> None:
    found = values("ca", ("Viu a Lleida des de 1999", "viu a lleida des de 1998"), ("Ella", "ela"),
                   words=frozenset({"viu", "a", "des", "de"}))  # fmt: skip
    assert found.keys() == {metric.name for metric in METRICS} - {"per"}
    assert found["error_rate"] == found["wer"] == pytest.approx(2 / 7)
    assert found["substitutions"] == found["wer"]
    assert found["cer"] == pytest.approx(2 / 28)
    assert (found["wer_numbers"], found["wer_names"]) == (1, 0)
    assert found["wer_unseen"] == pytest.approx(2 / 3)


def test_a_script_without_spaces_is_scored_in_characters_alone() -> None:
    found = values("zh-CN", ("你好, 世界", "你好世间"))
    assert found["error_rate"] == found["cer"] == 0.25
    assert "wer" not in found
    assert not any(name.startswith("wer") for name in found)


@pytest.mark.parametrize(("unit", "rate"), [("script", 0.5), ("word", 0.5), ("character", 0.2)])
def test_the_unit_of_the_matrix_can_be_chosen(unit: str, rate: float) -> None:
    assert values("ca", ("ab cd", "ab ce"), unit=unit)["error_rate"] == rate


def test_names_are_capitals_inside_a_sentence_or_those_of_a_list(tmp_path: Path) -> None:
    said = "Ara Marta diu «Àlex» i l'anna"
    assert marked(clip(said), name_rule("ca", "")) == [False, True, False, True, False, False, False]
    assert not any(marked(clip("Der Hund und Hans", "de"), name_rule("de", "")))
    (tmp_path / "names.txt").write_text("Ara\nÀlex\n", "utf-8")
    assert marked(clip(said), name_rule("ca", str(tmp_path / "names.txt"))) == [True, False, False, True, *[False] * 3]
    with pytest.raises(UserError, match="no such file; allowed: a text file"):
        name_rule("ca", str(tmp_path / "none.txt"))


def test_a_number_is_a_word_with_a_numeral() -> None:
    assert marked(clip("em 20 anys ٣ 7è-vegada"), is_number) == [False, True, False, True, True, False]


def test_test_clips_without_any_text_are_refused() -> None:
    with pytest.raises(UserError, match="the 1 test clips of 'ca' have no text that counts"):
        values("ca", ("…", ""))
