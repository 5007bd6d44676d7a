"""What every CTC system does: views, clips that cannot be learnt from, alphabets that do not fit."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.resampled_metrics import RATES, RESAMPLED
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from grids.schema import from_table
from tasks.asr.ctc import BackboneOptions, Ctc
from tasks.asr.system import Recogniser, views_of
from tasks.asr.text import text_of
from tasks.asr.vocabulary import UNK
from tasks.base import Batch, Example, Setup, Tests
from tasks.data.clips import Clip
from tests.tasks.waves import make_clips, wave

NO, ZH = (make_clips(code, "train", speakers=1, clips_each=4) for code in ("no", "zh-CN"))
SAID = tuple(replace(clip, sentence=text) for clip, text in zip(NO, ("ab", "ba c", "Abb", "a"), strict=True))
ALSO = tuple(replace(clip, sentence=text) for clip, text in zip(ZH, ("你好", "b 好", "你", "好"), strict=True))


def made(
    clips: tuple[Clip, ...], seed: int = 1, scored: tuple[Clip, ...] = (), **options: Any
) -> tuple[Ctc, Recogniser]:
    task = Ctc(BackboneOptions(**options), Model(backbone="tiny"))
    languages = {code: 1 for code in {clip.language for clip in clips}}
    return task, task.network(Setup(Mixture.of(languages), clips, 1, scored))


def batch(clips: tuple[Clip, ...], labels: Any = None) -> Batch:
    waves = [torch.from_numpy(wave(replace(clip, sentence="ada"))) for clip in clips]
    values = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    return Batch(values, torch.tensor([clip.length for clip in clips]), labels or {})


def test_a_mixture_writes_all_characters_of_its_text() -> None:
    symbols, (view,) = views_of(SAID + ALSO, BackboneOptions())
    assert symbols == ("", " ", "a", "b", "c", "你", "好")
    assert (view.language, view.rows) == ("", (0, 1, 2, 3, 4, 5, 6))


def test_with_a_vocabulary_a_language_a_donor_adds_no_characters() -> None:
    options = BackboneOptions(vocabulary="language")
    _, (own,) = views_of(SAID, options)
    symbols, (both, other) = views_of(SAID + ALSO, options)
    assert own.vocabulary == both.vocabulary
    assert [symbols[row] for row in other.rows] == ["", "b", "你", "好"]


def test_heads_of_languages_share_no_rows() -> None:
    symbols, (no, zh) = views_of(SAID + ALSO, BackboneOptions(vocabulary="language", heads="language"))
    assert not {*no.rows} & {*zh.rows}
    assert [symbols[row] for row in no.rows] == ["no/", "no/ ", "no/a", "no/b", "no/c"]
    _, shared = views_of(SAID + ALSO, BackboneOptions(heads="language"))
    assert shared[0].vocabulary == shared[1].vocabulary


@pytest.mark.parametrize("options", [{}, {"vocabulary": "language"}, {"heads": "language", "vocabulary": "language"}])
def test_a_loss_is_that_of_the_clip_alone_whatever_the_heads(options: dict[str, Any]) -> None:
    task, network = made(SAID + ALSO, **options)
    network.eval()
    clips = SAID + ALSO

    def loss(some: tuple[Clip, ...]) -> torch.Tensor:
        return task.loss(network, batch(some, task.labels(network, [Example((clip,)) for clip in some])))

    together = loss(clips)
    assert torch.isfinite(together).all()
    assert torch.allclose(together, torch.cat([loss((clip,)) for clip in clips]), rtol=1e-4)


def test_a_head_of_another_language_gets_no_gradient() -> None:
    task, network = made(SAID + ALSO, heads="language", vocabulary="language")
    task.loss(network, batch(SAID, task.labels(network, [Example((clip,)) for clip in SAID]))).sum().backward()
    gradient = network.head.weight.grad
    assert gradient is not None
    assert gradient[list(network.views[0].rows)].abs().sum() > 0
    assert gradient[list(network.views[1].rows)].abs().sum() == 0


def test_each_language_is_read_by_its_own_head_and_a_new_one_by_the_surest() -> None:
    task, network = made(SAID + ALSO, heads="language", vocabulary="language")
    output = {"text": np.array(["ab", "你好"]), "log_probability": np.array([-2.0, -1.0])}
    clips = {code: replace(SAID[0], language=code, sentence="ab") for code in ("no", "fy-NL")}
    tests = {code: Tests((clip,), (output,)) for code, clip in clips.items()}
    scored = task.score(network, tests)
    assert list(scored.predictions["hypothesis"]) == ["ab", "你好"]


@pytest.mark.parametrize("unit", ["script", "word", "character"])
def test_predictions_have_the_errors_that_the_scores_are_made_of(unit: str) -> None:
    task, network = made(SAID + ALSO, unit=unit)
    said = {"no": ("ab", "b c", "abc", ""), "zh-CN": ("你", "好 好", "你好", "b")}
    tests = {code: Tests(clips, tuple({"text": np.array([text]), "log_probability": np.array([0.0])} for text in texts))
             for (code, texts), clips in zip(said.items(), (SAID, ALSO), strict=True)}  # fmt: skip
    scored = task.score(network, tests)
    items = pd.DataFrame(dict(scored.predictions)).assign(speaker="s")
    for score in scored.scores:
        if score.metric in RATES:
            found = RESAMPLED[score.metric](items[items["language"] == score.language], np.ones((1, 1)))
            assert found[0] == pytest.approx(score.value), (score.language, score.metric)
    assert {(score.language, score.metric) for score in scored.scores} >= {("no", "wer"), ("zh-CN", "cer")}


def test_clips_without_text_or_too_short_for_it_are_left_out_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    short, empty = replace(SAID[0], name="s", sentence="abc" * 40), replace(SAID[1], name="e", sentence="?!")
    with caplog.at_level(logging.WARNING):
        task, network = made((*SAID, short, empty), max_dropped_share=0.5)
    assert "2 of 6 training clips of 'no' are empty or too short for their text: s, e; left out" in caplog.text
    assert {e.clips[0].name for e in task.examples(network, (*SAID, short, empty), 1, 0)} == {c.name for c in SAID}


def test_too_many_clips_that_cannot_be_learnt_from_are_refused() -> None:
    with pytest.raises(UserError, match=r"1 of 5 training clips of 'no' .* e; allowed: a share of 0.05"):
        made((*SAID, replace(SAID[1], name="e", sentence="?!")))


def test_a_double_letter_needs_a_frame_more() -> None:
    _, network = made(SAID)
    frames = int(network.encoder.frames(torch.tensor([SAID[0].length])))
    alternating, double = "ab" * (frames // 2) + "a" * (frames % 2), "aa" * (frames // 2) + "a" * (frames % 2)
    with pytest.raises(UserError, match="1 of 5"):
        made((*SAID, replace(SAID[0], name="double", sentence=double)))
    task, network = made((*SAID, replace(SAID[0], name="just fits", sentence=alternating)))
    clip = replace(SAID[0], sentence=alternating)
    loss = task.loss(network, batch((clip,), task.labels(network, [Example((clip,))])))
    assert torch.isfinite(loss).all()


def test_an_alphabet_that_does_not_fit_is_refused_before_training(caplog: pytest.LogCaptureFixture) -> None:
    test = replace(SAID[0], split="test", sentence="abж")
    with pytest.raises(UserError, match=r"'no'; allowed: 10.0% \(max_unknown_share\). Lacking: 'ж' \(U\+0436\) x1"):
        made(SAID, scored=(test,))
    with caplog.at_level(logging.WARNING):
        made(SAID, scored=(test,), max_unknown_share=0.5)
        made(SAID, scored=(replace(test, language="ru"),))  # no language of the mixture: it is listed alone
    assert "lacks, of the test text of 'no': 'ж' (U+0436) x1" in caplog.text
    assert "lacks, of the test text of 'ru': 'ж' (U+0436) x1" in caplog.text


@pytest.mark.parametrize(("unknown", "cer"), [("error", 1 / 3), ("map", 0.0), ("unk", 1 / 3)])
def test_an_unknown_character_is_an_error_or_what_stands_for_it(unknown: str, cer: float) -> None:
    task, network = made(SAID, unknown=unknown)
    clip = replace(SAID[0], sentence="abá")
    test = Tests((clip,), ({"text": np.array(["aba"]), "log_probability": np.array([0.0])},))
    found = {s.metric: s.value for s in task.score(network, {"no": test}).scores}
    assert found["cer"] == pytest.approx(cer)
    assert (UNK in network.symbols) == (unknown == "unk")


def test_the_untouched_network_writes_nothing() -> None:
    task = Ctc(BackboneOptions(), Model(backbone="tiny"))
    network = task.network(Setup(Mixture(), (), 1))
    (output,) = task.outputs(network.eval(), batch(SAID[:1]))
    assert output["text"].tolist() == [""]
    scored = task.score(network, {"no": Tests(SAID[:1], (output,))})
    assert {s.metric: s.value for s in scored.scores}["cer"] == 1


def test_rules_are_no_setting_and_a_model_needs_a_beam() -> None:
    assert BackboneOptions().rules
    with pytest.raises(UserError, match="unknown key 'rules'"):
        from_table(BackboneOptions, {"rules": "old"})
    with pytest.raises(UserError, match="needs beam"):
        BackboneOptions(lm="a.arpa")


def test_groups_of_speakers_are_scored_alone_and_the_unknown_are_in_none() -> None:
    task, network = made(SAID, by=("gender", "accent"))
    accents = {SAID[0].name: "Irish English", SAID[1].name: "Scottish English"}
    clips = tuple(replace(clip, accent=accents.get(clip.name, ""), gender="") for clip in SAID)
    right = [{"text": np.array([text_of(clip)]), "log_probability": np.zeros(1)} for clip in clips]
    right[1]["text"] = np.array([""])
    found = task.score(network, {"no": Tests(clips, tuple(right))})
    cer = {score.condition: (score.value, score.n_test) for score in found.scores if score.metric == "cer"}
    assert cer.keys() == {"", "accent Irish English", "accent Scottish English"}
    assert cer["accent Irish English"] == (0.0, 1)
    assert cer["accent Scottish English"] == (1.0, 1)
    assert cer[""][1] == len(clips)
    assert found.predictions["accent"] == [clip.accent for clip in clips]
