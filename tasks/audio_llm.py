"""Speech and audio LLMs of transformers (Qwen2-Audio, Audio Flamingo 3, GLM-ASR, ...) as frozen embedders of clips.

A clip goes through the whole model: audio encoder, projector, language model. Its embedding is the mean, over the
positions of the audio in the language model's input, of a hidden layer of the language model. Clips go through one by
one, so an embedding is a function of the clip alone: half precision and encoders that look at padding would make it
depend on the batch.

Not covered: models that need code of their own from the hub, a LoRA adapter (merge it first) or mistral-common.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.utils import logging

from grids.errors import UserError
from tasks.backbones import fingerprint, resolve
from tasks.data.clips import SAMPLE_RATE_HZ

TEXT_SETTINGS = (".json", ".jinja", ".txt", ".model")  # files that decide on what the language model is fed


@dataclass(frozen=True)
class AudioLLM:
    """A speech LLM and where its embeddings are taken. The weights are read when the first clip is embedded.

    Attributes:
        backbone: a folder, a hub name, or "tiny-llm".
        layer: the hidden layer: 1 is the language model's first layer, -1 its last.
        prompt: text before the audio. A causal model cannot see what stands after it.
    """

    backbone: str
    layer: int
    prompt: str

    def check(self) -> None:
        """Reads the configuration and the processor, not the weights.

        Raises:
            UserError: no such backbone, no speech LLM, or no such layer.
        """
        folder = resolve(self.backbone)
        layers = _config(folder).get_text_config().num_hidden_layers
        if not 1 <= abs(self.layer) <= layers:
            raise UserError(
                f"layer in [options] is {self.layer}; allowed: 1 to {layers}, or -1 (the last) to -{layers}; "
                "0 would be the audio before the language model"
            )
        _processor(folder)

    @property
    def width(self) -> int:
        """H, the size of an embedding."""
        return int(_config(resolve(self.backbone)).get_text_config().hidden_size)

    def sha(self) -> str:
        """A hash of weights, configuration, tokenizer and chat template, read once a process."""
        return _sha(resolve(self.backbone))

    def key(self, device: torch.device) -> str:
        """Stands for everything that an embedding depends on beside the clip."""
        return f"audio-llm mean 1|{self.sha()}|{self.layer}|{self.prompt}|{_dtype(device)}"

    @torch.no_grad()
    def embed(self, wave_T: np.ndarray, device: torch.device) -> np.ndarray:
        """The embedding of a clip.

        Args:
            wave_T: (T,) float32, 16 kHz, in [-1, 1].
            device: where the model runs; in bfloat16 on a GPU, in float32 on a CPU.

        Returns:
            (H,) float32.

        Raises:
            UserError: the model would cut the clip short.
        """
        folder = resolve(self.backbone)
        processor, model = _processor(folder), _model(folder, device)
        if len(wave_T) > (longest := _longest_seconds(processor)) * SAMPLE_RATE_HZ:
            seconds = len(wave_T) / SAMPLE_RATE_HZ
            raise UserError(f"{seconds:.1f} s of audio; {self.backbone} takes {longest} s: set max_seconds in [data]")
        inputs = processor(
            text=[_turn(processor, self.prompt)], audio=[wave_T],
            audio_kwargs={"sampling_rate": SAMPLE_RATE_HZ}, return_tensors="pt",
        ).to(device, dtype=_dtype(device))  # fmt: skip
        hidden = model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
        at_audio_LH = hidden[self.layer][inputs["input_ids"] == model.config.audio_token_id]
        assert len(hidden) == model.config.get_text_config().num_hidden_layers + 1, "its input and each layer's output"
        assert len(at_audio_LH), "the processor has made positions for the audio"
        return at_audio_LH.float().mean(0).cpu().numpy()


def _turn(processor: Any, prompt: str) -> str:
    """The user's turn as the model's chat template writes it: the prompt, then the audio's placeholder."""
    if not processor.chat_template:
        return prompt + processor.audio_token
    parts = [{"type": "text", "text": prompt}, {"type": "audio"}]
    try:
        return processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    except TypeError:  # a template that takes plain text alone
        turn = {"role": "user", "content": prompt + processor.audio_token}
        return processor.apply_chat_template([turn], tokenize=False)


def _longest_seconds(processor: Any) -> float:
    """Seconds of audio that the processor takes whole; it cuts off what is beyond without a word."""
    extractor = getattr(processor, "feature_extractor", None)
    return getattr(processor, "max_audio_len", None) or getattr(extractor, "chunk_length", None) or math.inf


def _dtype(device: torch.device) -> torch.dtype:
    """Half precision where it is fast."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


@lru_cache(maxsize=4)
def _sha(folder: Path) -> str:
    return fingerprint(str(folder), TEXT_SETTINGS)


@lru_cache(maxsize=4)
def _config(folder: Path) -> Any:
    """The configuration of a speech LLM.

    Raises:
        UserError: it is something else, or its language model needs an adapter.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "audio_token_id", None) is None:
        raise UserError(
            f"backbone {str(folder)!r} is of type {config.model_type!r}; allowed: a speech LLM of transformers, whose "
            "configuration has an audio_token_id (qwen2_audio, audioflamingo3, glmasr, ...), or tiny-llm"
        )
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"backbone {str(folder)!r} has a LoRA adapter beside its weights; merge it and save the model")
    return config


@lru_cache(maxsize=4)
def _processor(folder: Path) -> Any:
    """The processor, which makes features of a wave and leaves positions for them in the text.

    Raises:
        UserError: it has no placeholder for audio, or cannot be read.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the processor of backbone {str(folder)!r} cannot be read: {reason}") from None
    if not hasattr(processor, "audio_token"):
        raise UserError(f"the processor of backbone {str(folder)!r} ({type(processor).__name__}) takes no audio")
    return processor


@lru_cache(maxsize=1)
def _model(folder: Path, device: torch.device) -> Any:
    """The model without its language modelling head, kept for the life of the process."""
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would report that the head is left out; what lacks is looked at below
    with torch.random.fork_rng(devices=[]):  # the first load of a process must leave the generator as later ones do
        model, found = AutoModel.from_pretrained(
            folder, config=_config(folder), dtype=_dtype(device), local_files_only=True, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    logging.set_verbosity(verbosity)
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"backbone {str(folder)!r} lacks {len(missing)} weights of its network, e.g. {missing[0]}")
    return model.eval().requires_grad_(False).to(device)
