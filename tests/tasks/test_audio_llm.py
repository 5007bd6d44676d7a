"""Embeddings of speech LLMs: the language model runs, at the audio's positions, one clip like many, once a clip."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

from engine.inputs import FrozenOutputs, collate
from grids.errors import UserError
from grids.grid import Model
from grids.mixture import Mixture
from tasks import audio_llm
from tasks.audio_llm import AudioLLM
from tasks.backbones import resolve
from tasks.base import Batch, Frozen, Setup
from tasks.speaker.speech_llm import SpeechLLM, SpeechLLMOptions
from tests.engine.runs import ROOT
from tests.tasks.speech_llms import FAMILIES, save
from tests.tasks.waves import MadeWaves, make_clips, wave

CPU = torch.device("cpu")
CLIPS = make_clips("no", "train", speakers=3, clips_each=3)


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small random model of each family."""
    return save(request.param, tmp_path_factory.mktemp(request.param))


def embed(llm: AudioLLM) -> np.ndarray:
    return llm.embed(wave(CLIPS[0]), CPU)


def frozen(backbone: str) -> Frozen:
    """The frozen part of the task as the engine sees it."""
    task = SpeechLLM(SpeechLLMOptions(prompt="Who?"), Model(backbone=backbone))
    return task.frozen(task.network(Setup(Mixture(), CLIPS, 0)))


def test_prompt_layer_and_wave_each_change_the_embedding(saved: str) -> None:
    plain = AudioLLM(saved, -1, "Who?")
    first = embed(plain)
    assert first.shape == (plain.width,)
    assert first.dtype == np.float32
    others = [embed(replace(plain, prompt="What?")), embed(replace(plain, layer=1)), plain.embed(wave(CLIPS[1]), CPU)]
    for other in others:
        assert np.abs(other - first).max() > 1e-3
    assert np.array_equal(first, embed(plain))


def test_a_weight_of_the_language_model_changes_embedding_and_key(saved: str, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in Path(saved).iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    weights = load_file(changed / "model.safetensors")
    name = next(name for name in weights if "language_model" in name and name.endswith("layers.0.mlp.up_proj.weight"))
    weights[name] = weights[name] + 0.1
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    one, other = AudioLLM(saved, -1, "Who?"), AudioLLM(str(changed), -1, "Who?")
    assert np.abs(embed(one) - embed(other)).max() > 1e-3
    assert one.key(CPU) != other.key(CPU)


def test_key_follows_everything_that_changes_an_embedding(saved: str) -> None:
    plain = AudioLLM(saved, -1, "Who?")
    keys = {plain.key(CPU), replace(plain, layer=1).key(CPU), replace(plain, prompt="").key(CPU),
            plain.key(torch.device("cuda"))}  # fmt: skip
    assert len(keys) == 4


@pytest.mark.parametrize("layer", [1, 2, -1])
def test_embedding_is_the_mean_over_audio_positions_of_the_whole_models_hidden_states(layer: int) -> None:
    """By hand, with the generation class and its own processor: 3 clips of one text, padded to a batch."""
    folder = resolve("tiny-llm")
    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(folder).eval()
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWho?Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n<|im_end|>\n"
    )
    waves = [wave(clip) for clip in CLIPS[:3]]
    inputs = processor(text=[text] * 3, audio=waves, sampling_rate=16_000, return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states[layer]
    audio = inputs["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    assert audio.sum(1).tolist() == [((len(w) // 160 - 1) // 2 + 1 - 2) // 2 + 1 for w in waves], "40 ms a position"
    for number, one in enumerate(waves):
        by_hand = hidden[number, audio[number]].mean(0).numpy()
        assert np.allclose(AudioLLM("tiny-llm", layer, "Who?").embed(one, CPU), by_hand, rtol=0, atol=1e-5)


def test_a_clip_does_not_depend_on_its_batch_nor_on_padding(saved: str) -> None:
    part, waves = frozen(saved), MadeWaves()
    together = part.compute(collate(waves.arrays(CLIPS)))
    for clip, row in zip(CLIPS, together, strict=True):
        alone = collate(waves.arrays([clip]))
        padded = Batch(torch.nn.functional.pad(alone.values, (0, 3000), value=0.5), alone.lengths)
        for batch in (alone, padded):
            assert np.allclose(part.compute(batch)[0], row, rtol=0, atol=1e-5)


def test_half_precision_gives_nearly_the_same(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does, on the CPU."""
    full = embed(AudioLLM(saved, -1, "Who?"))
    audio_llm._model.cache_clear()
    monkeypatch.setattr(audio_llm, "_dtype", lambda device: torch.bfloat16)
    half = embed(AudioLLM(saved, -1, "Who?"))
    audio_llm._model.cache_clear()
    assert 0 < np.abs(half - full).max() < 0.05 * np.abs(full).max()


def test_loading_and_embedding_leave_the_random_generator_alone(tmp_path: Path) -> None:
    fresh = AudioLLM(save("qwen2_audio", tmp_path), -1, "")
    torch.manual_seed(7)
    state = torch.get_rng_state()
    embed(fresh)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("layer", [0, 3, -3])
def test_a_layer_that_is_not_of_the_language_model(layer: int) -> None:
    with pytest.raises(UserError, match=rf"layer in \[options\] is {layer}; allowed: 1 to 2, or -1 \(the last\) to -2"):
        SpeechLLM(SpeechLLMOptions(layer=layer), Model(backbone="tiny-llm")).weights_sha()


def test_what_is_no_speech_llm_lacks_weights_or_has_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of type 'hubert'; allowed: a speech LLM of transformers"):
        AudioLLM("tiny", 1, "").check()
    folder = Path(save("audioflamingo3", tmp_path))
    weights = load_file(folder / "model.safetensors")
    lacking = {name: value for name, value in weights.items() if not name.endswith("layers.1.mlp.up_proj.weight")}
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights of its network, e.g. language_model.*mlp\.up_proj\.weight"):
        embed(AudioLLM(str(folder), 1, ""))
    with_adapter = Path(save("granite_speech", tmp_path / "granite"))
    (with_adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="has a LoRA adapter beside its weights"):
        AudioLLM(str(with_adapter), 1, "").check()


def test_a_clip_that_the_processor_would_cut_is_refused_with_its_name(tmp_path: Path) -> None:
    long = replace(CLIPS[0], name="long.mp3", length=16_000 * 11, sha="long")
    inputs = FrozenOutputs(frozen("tiny-llm"), MadeWaves(), tmp_path, CPU, seconds=60.0)
    with pytest.raises(UserError, match=r"no/long\.mp3: 11\.0 s of audio; tiny-llm takes 10 s: set max_seconds"):
        inputs.prepare([*CLIPS, long])


def test_a_second_run_computes_nothing_again_and_loads_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FrozenOutputs(frozen("tiny-llm"), MadeWaves(), tmp_path, CPU, seconds=2.0)
    assert first.prepare(CLIPS) == len(CLIPS)
    arrays = first.arrays(CLIPS)
    monkeypatch.setattr("tasks.audio_llm._model", lambda folder, device: pytest.fail("the model is loaded"))
    renamed = [replace(clip, name="renamed", language="zh-CN", offset=7) for clip in CLIPS]
    again = FrozenOutputs(frozen("tiny-llm"), MadeWaves(), tmp_path, CPU, seconds=2.0)
    assert again.prepare(renamed) == 0
    assert all(np.array_equal(a, b) for a, b in zip(arrays, again.arrays(renamed), strict=True))


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from dataclasses import replace
from engine.inputs import FrozenOutputs
from tests.tasks.test_audio_llm import CLIPS, frozen
from tests.tasks.waves import MadeWaves
part, done = frozen("tiny-llm"), []
def compute(batch):
    done.append(len(batch.values))
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return part.compute(batch)
FrozenOutputs(replace(part, compute=compute), MadeWaves(), Path(sys.argv[1]), torch.device("cpu"), 1.0).prepare(CLIPS)
"""


@pytest.mark.slow
def test_killing_it_in_the_middle_loses_the_batch_in_flight_alone(tmp_path: Path) -> None:
    """Batches of at most 1 s, here two clips; the third is in flight when the process is killed."""
    environ = {**os.environ, "CLTM_CACHE": str(resolve("tiny-llm").parents[1])}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=environ, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    computed: list[int] = []
    part = frozen("tiny-llm")

    def compute(batch: Batch) -> list[np.ndarray]:
        computed.append(len(batch.values))
        return list(part.compute(batch))

    inputs = FrozenOutputs(replace(part, compute=compute), MadeWaves(), tmp_path, CPU, 1.0)
    assert inputs.prepare(CLIPS) == sum(computed) == len(CLIPS) - 4
    whole = FrozenOutputs(part, MadeWaves(), tmp_path / "whole", CPU, 1.0)
    assert all(np.array_equal(a, b) for a, b in zip(inputs.arrays(CLIPS), whole.arrays(CLIPS), strict=True))
