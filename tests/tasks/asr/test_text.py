"""Text rules keep what a script needs; vocabularies keep what a text needs."""

import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grids.errors import UserError
from tasks.asr.text import clean, has_spaces, rules_of, rules_sha
from tasks.asr.vocabulary import UNK, Vocabulary, check_alphabet
from tasks.examples import linear_head

SAMPLES = {  # language: (as written, as scored)
    "ta": ("யாதும் ஊரே, யாவரும் கேளிர்!", "யாதும் ஊரே யாவரும் கேளிர்"),
    "th": ("สวัสดี ครับ, น้ำ", "สวัสดีครับน้ํา"),
    "bn": ("আমি বাংলায় গান গাই।", "আমি বাংলায় গান গাই"),
    "dv": ("ދިވެހިރާއްޖެ، މާލެ", "ދިވެހިރާއްޖެ މާލެ"),
    "ar": ("العَرَبِيَّة، لُغَةٌ؟", "العَرَبِيَّة لُغَةٌ"),
    "tr": ("Iğdır'da İSTANBUL ışığı!", "ığdır da istanbul ışığı"),
    "az": ("BAKI İÇİN", "bakı için"),
    "zh-CN": ("你好, 世界! ABC 3", "你好世界abc3"),
    "cmn_hans_cn": ("你 好", "你好"),
    "ca": ("Col·legi, goril\u2022la; L'Èl·lia · paraŀlel", "col·legi goril·la l èl·lia paral·lel"),
    "de": ("Straße – Größe", "strasse grösse"),
    "el": ("Ὀδυσσεύς ΟΔΟΣ", "ὀδυσσεύσ οδοσ"),
    "en@Scottish English": ("Don’t 'quote' me: dogs'!", "don't quote me dogs"),
    "uk": ("«П’ять» п'яти", "п'ять п'яти"),
    "uz": ("Oʻzbekiston, to'g'ri", "oʼzbekiston toʼgʼri"),
    "hi": ("क्षत्रिय हिन्दी।", "क्षत्रिय हिन्दी"),
}


@pytest.mark.parametrize(("language", "written", "scored"), [(k, *v) for k, v in SAMPLES.items()], ids=SAMPLES)
def test_a_sentence_keeps_its_letters_and_marks(language: str, written: str, scored: str) -> None:
    assert clean(written, language) == unicodedata.normalize("NFKC", scored)
    vocabulary = Vocabulary.of([clean(written, language)])
    assert vocabulary.decode(vocabulary.encode(clean(written, language))) == clean(written, language)


@pytest.mark.parametrize("language", SAMPLES)
def test_no_combining_mark_is_lost(language: str) -> None:
    written = unicodedata.normalize("NFKD", SAMPLES[language][0].replace("İ", "i"))
    scored = unicodedata.normalize("NFKD", clean(written, language))
    marks = [[c for c in text if unicodedata.category(c).startswith("M")] for text in (written, scored)]
    assert marks[0] == marks[1]


@given(st.text(), st.sampled_from(sorted(SAMPLES)))
def test_cleaning_twice_changes_nothing_more(sentence: str, language: str) -> None:
    once = clean(sentence, language)
    assert once == " ".join(once.split())
    assert {unicodedata.category(c)[0] for c in once} - {"L", "N", "M"} <= {"Z", "P"}
    if language not in ("tr", "az"):  # a dotless i that was made stays one; a capital I that NFKC makes does not recur
        assert clean(once, language) == once


def test_scripts_without_spaces_have_no_words() -> None:
    assert [code for code in SAMPLES if not has_spaces(code)] == ["th", "zh-CN", "cmn_hans_cn"]
    assert has_spaces("ko")
    assert rules_of("no") == rules_of("xx-new")


def test_rules_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_sha()
    assert before == rules_sha()
    monkeypatch.setattr("tasks.asr.text.KEPT", "LN")
    assert rules_sha() != before


def test_a_sentence_of_punctuation_alone_is_empty() -> None:
    assert clean(" … — ?!", "es") == ""


def test_a_character_starts_from_the_same_row_in_every_mixture() -> None:
    small, large = Vocabulary.of(["ab c"]), Vocabulary.of(["ab c", "žda"])
    rows = [linear_head(v.symbols, 8, 3).weight for v in (small, large)]
    for character in small.symbols:
        row = [v.symbols.index(character) for v in (small, large)]
        assert torch.equal(rows[0][row[0]], rows[1][row[1]])


def test_row_0_is_the_blank_and_is_never_written() -> None:
    vocabulary = Vocabulary.of(["abba"])
    assert vocabulary.characters == ("a", "b")
    assert vocabulary.encode("abba") == [1, 2, 2, 1]
    assert vocabulary.decode([0, 1, 2, 0, 2]) == "abb"


@pytest.mark.parametrize(
    ("unknown", "reference", "encoded", "lacking"),
    [
        ("error", "cañón", "can", {"ñ": 1, "ó": 1}),
        ("map", "canon", "canon", {}),
        ("unk", f"ca{UNK}{UNK}n", None, {UNK: 2}),
    ],
)
def test_what_becomes_of_a_character_that_training_did_not_have(
    unknown: str, reference: str, encoded: str | None, lacking: dict[str, int]
) -> None:
    vocabulary = Vocabulary.of(["can o"], unknown)  # type: ignore[arg-type]
    assert vocabulary.reference("cañón") == reference
    assert vocabulary.decode(vocabulary.encode("cañón")) == (encoded or reference).replace("?", "")
    assert vocabulary.lacking(["cañón"]) == lacking


def test_rare_characters_can_be_left_out() -> None:
    assert Vocabulary.of(["aab", "a"], least=2).characters == ("a",)
    assert Vocabulary.of(["aab", "a"], "unk", least=2).characters == ("a", UNK)
    assert Vocabulary.of([]).symbols == ("",)


def test_a_test_text_in_another_alphabet_is_refused_with_its_characters() -> None:
    vocabulary = Vocabulary.of(["abc"])
    assert check_alphabet(vocabulary, ["abcabcabcx"], "es", 0.1) == {"x": 1}
    with pytest.raises(
        UserError, match=r"lacks 66.7% .* 'es'; allowed: 10.0% .*'д' \(U\+0434\) x2, 'ж' \(U\+0436\) x2"
    ):
        check_alphabet(vocabulary, ["ддa", "жжb"], "es", 0.1)
