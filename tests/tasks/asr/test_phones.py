"""Phones: what a sentence sounds like in any script, and a recogniser that writes and is scored in them."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch

from engine.keep import keep_checkpoint
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks import checkpoint
from tasks.asr import transcribe
from tasks.asr.ctc import BackboneOptions, Ctc
from tasks.asr.scoring import Heard, scores_of
from tasks.asr.system import CtcSystem, Recogniser, views_of
from tasks.asr.vocabulary import Vocabulary
from tasks.base import Setup, Tests
from tasks.data.clips import Clip
from tests.tasks.asr.test_system import batch
from tests.tasks.waves import make_clips

pytest.importorskip("espeakng_loader")
from tasks.asr.phones import phones, phones_of, reader, voice_of

TEXTS = ("hola mundo", "chico", "¿Dónde?", "la casa")
SPANISH = tuple(
    replace(clip, sentence=text)
    for clip, text in zip(make_clips("es", "train", speakers=1, clips_each=4), TEXTS, strict=True)
)
GREEK = replace(SPANISH[0], language="el", split="test", sentence="χέρι ζωή")


def made(clips: tuple[Clip, ...] = SPANISH, scored: tuple[Clip, ...] = (), **options: Any) -> tuple[Ctc, Recogniser]:
    task = Ctc(BackboneOptions(alphabet="phones", **options), Model(backbone="tiny"))
    return task, task.network(Setup(Mixture.of({clip.language: 1 for clip in clips}), clips, 1, scored))


def written(task: Ctc, network: Recogniser, clip: Clip, text: str) -> dict[str, float]:
    """The scores of one test clip of which the network wrote this."""
    test = Tests((clip,), ({"text": np.array([text]), "log_probability": np.zeros(1)},))
    return {score.metric: score.value for score in task.score(network, {clip.language: test}).scores}


@pytest.mark.parametrize(
    ("language", "sentence", "expected"),
    [
        ("es", "chico rojo", "tʃ i k o r o x o"),  # Latin; an affricate is one phone
        ("el", "καλημέρα κόσμε", "k a l i m e r a k o s m e"),  # Greek
        ("ru", "щука", "ɕ u k a"),  # Cyrillic
        ("ka", "საქართველო", "s a kʰ a r tʰ v e l o"),  # Georgian; aspiration belongs to its phone
        ("ar", "سلام", "s a l aː m"),  # Arabic; so does length
        ("be", "дзень", "dzʲ ɛ nʲ"),  # no tie
        ("zh-CN", "你好", "n i χ ɑu"),  # no tones
        ("vi", "thế giới", "t e z əː j"),  # the third tone is no vowel
        ("ky", "тили", "t̪ i l i"),  # of ASCII, IPA
        ("de", "Isle of Man", "ɪ s l ə ɒ v m a n"),  # a word in English, without a note of it
    ],
)
def test_phones_of_many_scripts(language: str, sentence: str, expected: str) -> None:
    assert phones([sentence], language) == [expected]


def test_stress_punctuation_and_words_leave_no_trace_and_numbers_are_read() -> None:
    assert phones(["Hola, mundo!", "holamundo", "?!", ""], "es") == ["o l a m u n d o", "o l a m u n d o", "", ""]
    assert phones(["2"], "es") == phones(["dos"], "es")


def test_a_sentence_reads_the_same_alone_and_among_others() -> None:
    together = phones([f"una casa número {n}" for n in range(20)], "ca")
    assert [phones([f"una casa número {n}"], "ca")[0] for n in reversed(range(20))] == together[::-1]
    assert len(set(together)) == 20


@pytest.mark.parametrize(
    ("language", "voice"),
    [("es_419", "es-419"), ("pt-PT", "pt"), ("en@Scottish English", "en"), ("cmn_hans_cn", "cmn"), ("zh-HK", "yue"),
     ("no", "nb"), ("sv-SE", "sv"), ("en-GB", "en"), ("hy-AM", "hy")],
)  # fmt: skip
def test_codes_of_corpora_find_their_voice(language: str, voice: str) -> None:
    assert voice_of(language) == voice
    assert phones(["a"], language)


def test_a_language_without_rules_and_a_script_that_is_not_read_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown language of espeak-ng .* 'fy-NL'; allowed: af, am, "):
        phones(["a"], "fy-NL")
    with pytest.raises(UserError, match="cannot read the kanji of '漢字'"):
        phones(["漢字"], "ja")
    with pytest.raises(UserError, match="'fy-NL'"):
        made()[0].check((replace(GREEK, language="fy-NL"),))


def test_without_the_extra_the_error_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    reader.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the extra `phones`: pip install 'cltm-engine\[phones\]'"):
        BackboneOptions(alphabet="phones")
    BackboneOptions()


def test_a_head_has_a_row_a_phone_of_the_training_text() -> None:
    symbols, (view,) = views_of(SPANISH, BackboneOptions(alphabet="phones"))
    assert symbols == ("", "a", "d", "e", "i", "k", "l", "m", "n", "o", "s", "tʃ", "u")
    _, network = made()
    assert view.vocabulary.decode(network.spelling(SPANISH[1])) == phones_of(SPANISH[1:2])[0] == "tʃ i k o"
    assert len(network.spelling(SPANISH[1])) == 4


def test_a_phone_starts_from_the_same_row_in_every_mixture() -> None:
    both = made((*SPANISH, replace(GREEK, split="train")))[1]
    one = made()[1]
    rows = [both.symbols.index(symbol) for symbol in one.symbols]
    assert len(both.symbols) > len(one.symbols)
    assert torch.equal(both.head.weight[rows], one.head.weight)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [("tʃ i k o", "tʃ i k o", 0), ("tʃ i k o", "t ʃ i k o", 2), ("k aː s a", "k a s a", 1), ("k a s a", "", 4),
     ("k a s a", "k a s a s", 1), ("s o l", "l o s", 2)],
)  # fmt: skip
def test_the_phone_error_rate_is_jiwers_over_phones(reference: str, hypothesis: str, errors: int) -> None:
    """As word error rate, of phones taken for words; `aː` and `a` are as different as `k` and `a`."""
    heard = [Heard(GREEK, reference, hypothesis)]
    found = {s.metric: s.value for s in scores_of("el", heard, "script", "", frozenset(), "", "phones")}
    assert found["per"] == found["error_rate"] == errors / len(reference.split())
    assert found["per"] == pytest.approx(jiwer.wer(reference, hypothesis))
    assert found["substitutions"] + found["deletions"] + found["insertions"] == pytest.approx(found["per"])
    assert found.keys() == {"error_rate", "per", "substitutions", "deletions", "insertions", "unknown_share"}


def test_greek_heard_by_a_spanish_recogniser_has_a_finite_rate_and_lists_what_it_lacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """χέρι ζωή is ç e r i z o i: Spanish text has neither ç nor z, both errors whatever is written."""
    assert phones_of([GREEK]) == ["ç e r i z o i"]
    with caplog.at_level(logging.WARNING):
        task, network = made((*SPANISH, replace(SPANISH[0], name="r", sentence="rojo")), (GREEK,))
    assert "lacks, of the test text of 'el': 'ç' (U+00E7) x1, 'z' (U+007A) x1" in caplog.text
    assert written(task, network, GREEK, "ç e r i z o i")["per"] == 0
    found = written(task, network, GREEK, "e r i o i")
    assert found["per"] == pytest.approx(2 / 7) == found["unknown_share"]
    (output,) = task.outputs(network.eval(), batch((GREEK,)))
    test = Tests((GREEK,), (output,))
    scored = task.score(network, {"el": test})
    assert all(np.isfinite(score.value) for score in scored.scores)
    assert scored.predictions["lacking"] == ["ç z"]
    assert scored.predictions["length"] == [7]


def test_a_language_of_the_mixture_that_lacks_too_many_phones_is_refused() -> None:
    test = replace(SPANISH[0], split="test", sentence="jefe")
    with pytest.raises(
        UserError, match=r"lacks 50.0% of the phones of the test text of 'es'; .* Lacking: 'x' \(U\+0078"
    ):
        made(scored=(test,))


def test_an_unknown_phone_can_be_written_by_its_parts() -> None:
    vocabulary = Vocabulary.of(["t ʃ a"], "map", alphabet="phones")
    assert vocabulary.reference("tʃ aː x") == "t ʃ a x"
    assert vocabulary.lacking(["tʃ aː x x"]) == {"x": 2}


def test_each_part_of_a_clip_is_read_in_its_own_language() -> None:
    class Both:
        parts = (SPANISH[1], GREEK)

    assert phones_of([Both()]) == ["tʃ i k o ç e r i z o i"]  # type: ignore[list-item]


def test_a_kept_recogniser_writes_phones_and_belongs_to_its_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, network = made()
    keep_checkpoint(task, network, tmp_path / "a.safetensors")
    again, read = checkpoint.read(tmp_path / "a", CtcSystem)
    assert again.options == task.options
    assert read.views == network.views
    language, text = transcribe.transcribed(again, read, np.zeros(8000, np.float32))
    assert language == ""
    assert set(text.split()) <= set(network.symbols)
    card = tmp_path / "a" / checkpoint.CARD
    kept = json.loads(card.read_text(encoding="utf-8"))
    kept["derived"]["rules"] = "espeak-ng 1.0"
    card.write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(UserError, match=r"rules of '.*' is 'espeak-ng 1.0'; this program has 'espeak-ng \d"):
        checkpoint.read(tmp_path / "a", CtcSystem)


def test_the_reader_is_part_of_the_options_and_phones_have_no_other_unit() -> None:
    assert BackboneOptions(alphabet="phones").rules == reader() != BackboneOptions().rules
    with pytest.raises(UserError, match=r"unit in .* is 'word'; allowed with alphabet = 'phones': 'script'"):
        BackboneOptions(alphabet="phones", unit="word")
