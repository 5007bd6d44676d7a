"""Speech translation: prompts, features, frozen outputs, checkpoints, and that it learns."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from analysis.resampled_metrics import RESAMPLED, speakers_of
from engine.fitting import World
from engine.inputs import FrozenOutputs
from engine.keep import keep_checkpoint
from engine.learner import Learner
from engine.room import Room
from grids.errors import UserError
from grids.grid import Model, Train
from grids.mixture import Mixture
from tasks import tiny_whisper
from tasks.base import Batch, Example, Setup, Tests
from tasks.regularise import Regularise, diagonal_fisher
from tasks.translation.scoring import bleu_chrf, signature, word_error_rate
from tasks.translation.task import Translation, TranslationOptions
from tasks.translation.texts import text_in
from tests.tasks.translation.passes import counted_passes
from tests.tasks.waves import MadeWaves, make_clips, wave

CPU = torch.device("cpu")
TEXTS = str(Path(__file__).parents[2] / "data" / "words.tsv")
CLIPS = make_clips("no", "train", speakers=2, clips_each=4)
FAST = Train(learning_rate=3e-3, epochs=2, batch_size=4)


def make(backbone: str = "tiny-whisper", **options: Any) -> Translation:
    return Translation(TranslationOptions(**{"to": "en", "texts": TEXTS, "max_tokens": 30, **options}), Model(backbone))


def learner(task: Translation, folder: Path, train: Train = FAST, room: float = 1e9) -> Learner:
    network = task.network(Setup(Mixture(), CLIPS, 0))
    frozen = task.frozen(network)
    inputs = MadeWaves() if frozen is None else FrozenOutputs(frozen, MadeWaves(), folder, CPU, 10.0, room)
    return Learner(task, network, inputs, train, CPU, World(), Room(10.0), lambda step, values: None)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips went through the encoder, a number a pass."""
    return counted_passes(monkeypatch)


def test_features_are_those_of_whispers_extractor() -> None:
    task = make()
    extractor = WhisperFeatureExtractor.from_pretrained(task.whisper.folder)
    expected = extractor([wave(CLIPS[0]), wave(CLIPS[1])], sampling_rate=16_000).input_features
    seen: list[torch.Tensor] = []
    network = task.whisper.network()
    network.model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    longest = max(CLIPS[0].length, CLIPS[1].length)
    padded = np.stack([np.pad(wave(clip), (0, longest - clip.length)) for clip in CLIPS[:2]])
    task.whisper.encode(network, torch.from_numpy(padded))
    assert np.allclose(seen[0].numpy(), np.stack(expected), atol=1e-4)


def test_a_clip_longer_than_the_window_is_refused() -> None:
    task = make()
    with pytest.raises(UserError, match=r"5 s .*max_seconds"):
        task.whisper.encode(task.whisper.network(), torch.zeros(1, 16_000 * 6))


@pytest.mark.parametrize(
    ("source", "target", "tokens"),
    [
        ("fr", "zh-CN", ["zh", "transcribe"]),
        ("eo", "zh", ["zh", "transcribe"]),  # Whisper has no token of Esperanto
        ("fr", "en", ["fr", "translate"]),
        ("eo", "en", ["de", "translate"]),
        ("en", "en", ["en", "transcribe"]),
        ("sv-SE", "source", ["sv", "transcribe"]),
        ("eo", "source", ["de", "transcribe"]),
    ],
)
def test_prompt_names_the_language_and_the_task(source: str, target: str, tokens: list[str]) -> None:
    whisper = make(stand_in="de").whisper
    names = [f"<|{name}|>" for name in ("startoftranscript", *tokens, "notimestamps")]
    assert whisper.tokenizer.convert_ids_to_tokens(whisper.prompt(source, target)) == names


def test_a_target_that_the_tokenizer_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match=r"to in .* is 'eo'.* has no token"):
        make(to="eo").weights_sha()


def test_a_clip_without_a_text_is_named_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match=f"no text in 'fr' for the clip no/{CLIPS[0].name}"):
        make(also=("fr",)).check(CLIPS)


def test_synthetic_clips_know_their_text_in_every_language() -> None:
    from tasks.data.cldr import sentences

    catalan, chinese = sentences("ca")["test"][7], sentences("zh")["test"][7]
    assert text_in(replace(CLIPS[0], language="ca", sentence=catalan.text), "zh") == chinese.text


def test_an_item_finds_the_row_before_the_sentence_does(tmp_path: Path) -> None:
    table = tmp_path / "translations.tsv"
    table.write_text("item\tno\ten\ni1\tbank\tbench\ni2\tbank\tshore\n", encoding="utf-8")
    clip = replace(CLIPS[0], sentence="bank")
    assert text_in(clip, "en", str(table)) == "bench"
    assert text_in(replace(clip, item="i2"), "en", str(table)) == "shore"


def test_a_loss_counts_the_text_and_its_end_alone_whatever_stands_beside_it(tmp_path: Path) -> None:
    one = learner(make(), tmp_path)
    task, network = one.task, one.network.eval()
    examples = one.task.examples(network, CLIPS, 0, 0)
    assert one.inputs is not None

    def losses(some: Any) -> torch.Tensor:
        arrays = one.inputs.arrays([example.clips[0] for example in some])  # type: ignore[union-attr]
        values = torch.from_numpy(np.stack(arrays).astype(np.float32))
        return task.loss(network, Batch(values, torch.tensor([len(a) for a in arrays]), task.labels(network, some)))

    together = losses(examples)
    assert torch.allclose(together, torch.cat([losses([example]) for example in examples]), atol=1e-5)
    labels = task.labels(network, examples[:1])
    clip = examples[0].clips[0]
    text = task.whisper.tokens(text_in(clip, "en", TEXTS))
    assert labels["targets"][0].tolist() == [-100, -100, -100, *text, task.whisper.end]


def test_a_frozen_encoder_runs_once_a_clip(tmp_path: Path, encoded: list[int]) -> None:
    tests = {"no": make_clips("no", "test", speakers=1, clips_each=2)}
    for epochs in (3, 1):
        one = learner(make(), tmp_path, replace(FAST, epochs=epochs))
        one.fit([CLIPS], 0)
        one.evaluate(tests)
    assert sum(encoded) == len(CLIPS) + 2


def test_beyond_its_room_the_encoder_runs_again_and_scores_stay(tmp_path: Path, encoded: list[int]) -> None:
    clip_bytes = make().needs.frozen_bytes
    results = []
    for name, room in (("all", 1e9), ("half", 4.5 * clip_bytes), ("none", 0.0)):
        torch.manual_seed(0)
        encoded.clear()
        one = learner(make(), tmp_path / name, room=room)
        one.fit([CLIPS], 0)
        kept = len(list((tmp_path / name).rglob("*.npy")))
        results.append((kept, sum(encoded), one.evaluate({"no": CLIPS})))
    assert [kept for kept, _, _ in results] == [8, 4, 0]
    assert [count for _, count, _ in results] == [8, 12, 16]  # two epochs
    texts = [[str(output["text en"]) for output in tests["no"].outputs] for _, _, tests in results if tests]
    assert texts[0] == texts[1] == texts[2]


def test_outputs_that_a_gpu_kept_with_tf32_are_not_taken_for_exact_ones() -> None:
    task = make()
    network = task.network(Setup(Mixture(), CLIPS, 0))
    on_cpu, elsewhere = task.frozen(network), task.frozen(network.to("meta"))
    assert on_cpu is not None
    assert elsewhere is not None
    assert on_cpu.key.endswith("|cpu"), "what a CPU kept is exact, and stays"
    assert elsewhere.key.endswith("|meta without TF32")


def test_a_kept_output_takes_what_the_plan_says(tmp_path: Path) -> None:
    one = learner(make(), tmp_path)
    assert one.inputs is not None
    (array,) = one.inputs.arrays(CLIPS[:1])
    assert array.dtype == np.float16
    assert array.nbytes == make().needs.frozen_bytes == 250 * 64 * 2
    assert make(train_part="all").needs.frozen_bytes == 0


def test_the_encoder_learns_only_when_all_does(tmp_path: Path) -> None:
    moved = {}
    for part in ("decoder", "all"):
        one = learner(make(train_part=part), tmp_path)
        before = {name: weight.clone() for name, weight in one.network.state_dict().items()}
        one.fit([CLIPS], 0)
        after = one.network.state_dict()
        moved[part] = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("model.encoder") for name in moved["decoder"])
    assert any(name.startswith("model.encoder.conv1") for name in moved["all"])
    assert any(name.startswith("model.decoder") for name in moved["decoder"])


def test_a_kept_checkpoint_is_a_plain_whispers(tmp_path: Path) -> None:
    one = learner(make(regularise=Regularise("l2", 1.0)), tmp_path)
    one.fit([CLIPS], 0)
    folder = tmp_path / "plain"
    shutil.copytree(one.task.whisper.folder, folder)  # type: ignore[attr-defined]
    keep_checkpoint(one.task, one.network, folder / "model.safetensors")
    plain, loading = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer, extractor = AutoTokenizer.from_pretrained(folder), WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(wave(CLIPS[0]), sampling_rate=16_000, return_tensors="pt").input_features
    prompt = one.task.whisper.prompt("no", "en")  # type: ignore[attr-defined]
    tokens = torch.tensor([prompt])
    for _ in range(30):
        best = plain.eval()(input_features=features, decoder_input_ids=tokens).logits[0, -1].argmax()
        tokens = torch.cat([tokens, best[None, None]], 1)
    row = tokens[0, len(prompt) :].tolist()
    end = tokenizer.eos_token_id
    expected = tokenizer.decode(row[: row.index(end)] if end in row else row, skip_special_tokens=True).strip()
    found = one.evaluate({"no": CLIPS[:1]})
    assert found is not None
    assert str(found["no"].outputs[0]["text en"]) == expected


def test_beams_find_texts_at_least_as_likely_as_greedy(tmp_path: Path) -> None:
    one = learner(make(), tmp_path)
    one.fit([CLIPS], 0)
    likely = []
    for beams in (1, 4):
        task = make(beams=beams)
        found = replace(one, task=task).evaluate({"no": CLIPS[:1]})
        assert found is not None
        guess = str(found["no"].outputs[0]["text en"])
        prompt, text = task.whisper.prompt("no", "en"), task.whisper.tokens(guess)[:29]
        assert one.inputs is not None
        hidden = torch.from_numpy(one.inputs.arrays(CLIPS[:1])[0][None].astype(np.float32))
        tokens = torch.tensor([[*prompt, *text, task.whisper.end]])
        log = task.whisper.logits(one.network, hidden, tokens[:, :-1]).log_softmax(2)
        own = log[0, len(prompt) - 1 :].gather(1, tokens[0, len(prompt) :, None])
        likely.append(float(own.detach().mean()))
    assert likely[1] >= likely[0] - 1e-4


def test_rehearsal_adds_a_share_of_clips_in_the_other_direction() -> None:
    task = make(also=("no",), rehearse=0.5)
    many = make_clips("no", "train", speakers=20, clips_each=10)
    examples = task.examples(task.network(Setup(Mixture(), CLIPS, 0)), many, 0, 0)
    labels = [example.label for example in examples]
    assert labels.count("en") == 200
    assert 70 <= labels.count("no") <= 130


def test_a_huge_strength_moves_no_weight_and_strength_0_is_none_bit_for_bit(tmp_path: Path) -> None:
    found = {}
    for name, held in (("none", Regularise()), ("zero", Regularise("l2")), ("huge", Regularise("l2", 1e12))):
        torch.manual_seed(0)
        one = learner(make(regularise=held), tmp_path, replace(FAST, epochs=10))
        one.fit([CLIPS], 0)
        found[name] = one.network.state_dict()
    start = make().whisper.network().state_dict()
    assert found["none"].keys() == found["huge"].keys() == start.keys()
    for key, weight in start.items():
        assert torch.equal(found["none"][key], found["zero"][key])
        assert torch.equal(found["huge"][key], weight)
    assert not torch.equal(
        found["none"]["model.decoder.embed_tokens.weight"], start["model.decoder.embed_tokens.weight"]
    )


def test_fisher_information_protects_what_matters_alone(tmp_path: Path) -> None:
    network = make().network(Setup(Mixture(), CLIPS, 0))
    matters = {name: torch.zeros_like(weight) for name, weight in network.named_parameters() if weight.requires_grad}
    name = "model.decoder.layers.0.fc1.weight"
    matters[name][:10] = 1e-6
    save_file(matters, tmp_path / "fisher.safetensors")
    one = learner(make(regularise=Regularise("ewc", 1e18, str(tmp_path / "fisher.safetensors"))), tmp_path)
    one.fit([CLIPS], 0)
    moved = one.network.state_dict()[name] != network.state_dict()[name]
    assert not moved[:10].any()
    assert moved[10:].float().mean() > 0.9


def test_the_same_sample_gives_the_fisher_information_that_a_grid_takes(tmp_path: Path) -> None:
    task = make(also=("source",))
    network = task.network(Setup(Mixture(), CLIPS, 0)).eval()
    batches = [
        Batch(
            torch.from_numpy(wave(clip))[None],
            torch.tensor([clip.length]),
            task.labels(network, [Example((clip,), "source")]),
        )
        for clip in CLIPS[:3]
    ]
    found = diagonal_fisher(network, lambda batch: task.loss(network, batch), batches)
    save_file(found, tmp_path / "fisher.safetensors")
    held = make(regularise=Regularise("ewc", 10.0, str(tmp_path / "fisher.safetensors")))
    assert len(held.network(Setup(Mixture(), CLIPS, 0)).anchor.names) == len(found)
    assert held.weights_sha() != make().weights_sha()
    assert not any(name.startswith("model.encoder") for name in found), "what is frozen needs no protection"


def test_bleu_is_the_sacrebleu_commands(tmp_path: Path) -> None:
    guesses = ["星期二 塔希提语 马里", "阿塞拜疆 泰米尔语 埃及", "the cat sat on a mat"]
    truth = ["星期三 塔希提语 马里", "阿塞拜疆 泰米尔语", "the cat sat on the mat"]
    (tmp_path / "guess").write_text("\n".join(guesses) + "\n", encoding="utf-8")
    (tmp_path / "truth").write_text("\n".join(truth) + "\n", encoding="utf-8")
    for language, tokenizer in (("zh", "zh"), ("zh-CN", "zh"), ("en", "13a"), ("ja", "char")):
        command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "truth"), "-i", str(tmp_path / "guess")]
        options = ["-m", "bleu", "-b", "-w", "10", "-tok", tokenizer]
        ran = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        assert 100 * bleu_chrf(guesses, truth, language)[0] == pytest.approx(float(ran.stdout), abs=1e-9)
        assert f"tok:{tokenizer}|" in signature(language)


def test_predictions_have_what_the_scores_are_sums_of() -> None:
    task = make(also=("source",))
    network = task.network(Setup(Mixture(), CLIPS, 0))
    texts = [(text_in(clip, "en", TEXTS), clip.sentence) for clip in CLIPS]
    written = [(f"{en} or so", f"eh {source}") if n % 2 else (en, source) for n, (en, source) in enumerate(texts)]
    outputs = tuple({"text en": np.array(en), "text source": np.array(source)} for en, source in written)
    scored = task.score(network, {"no": Tests(CLIPS, outputs)})
    items = pd.DataFrame(dict(scored.predictions))
    values = {(score.metric, score.condition): score.value for score in scored.scores}
    for metric, condition in (("bleu", ""), ("wer", "to source")):
        own = items[items["condition"] == condition]
        found = RESAMPLED[metric](own, np.ones((1, len(speakers_of(own)))))
        assert found[0] == pytest.approx(values[metric, condition], abs=1e-12)
        assert 0 < found[0] < 1


def test_signatures_are_part_of_what_a_result_is() -> None:
    assert TranslationOptions(to="zh", also=("en", "source")).signatures == (
        f"zh {signature('zh')}", f"en {signature('en')}",
    )  # fmt: skip


def test_word_error_rate_by_hand() -> None:
    assert word_error_rate(["a x c", ""], ["A b c", "d"]) == pytest.approx(2 / 4)


@pytest.mark.slow
def test_whisper_small_with_random_weights_takes_the_same_path(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    tiny_whisper.save(folder)
    tokenizer = tiny_whisper.tiny_tokenizer()
    config = WhisperConfig.from_pretrained(folder)
    small = WhisperConfig(**{**config.to_dict(), "d_model": 768, "encoder_layers": 12, "decoder_layers": 12,
                             "encoder_attention_heads": 12, "decoder_attention_heads": 12, "encoder_ffn_dim": 3072,
                             "decoder_ffn_dim": 3072, "num_mel_bins": 80, "max_source_positions": 1500,
                             "max_target_positions": 448, "init_std": 0.02})  # fmt: skip
    WhisperForConditionalGeneration(small).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    task = make(str(folder), max_tokens=3)
    assert task.needs.frozen_bytes == 1500 * 768 * 2
    one = learner(task, tmp_path / "cache", Train(learning_rate=1e-5, epochs=1, batch_size=2))
    one.fit([CLIPS[:2]], 0)
    assert one.evaluate({"no": CLIPS[:1]})
