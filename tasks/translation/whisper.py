"""Models of Whisper's type: their weights, their log-mel features on any device, their prompts and their generation.

A prompt names a language and a task, as Whisper was trained with: `<|fr|><|transcribe|>` writes what French speech says
in French, `<|fr|><|translate|>` in English. It knows no task "to Chinese": there the prompt is `<|zh|><|transcribe|>`,
the language of the text, whatever was spoken; so a spoken language needs no token, which is what lets languages be
translated that Whisper has never seen (R. Ma et al., arXiv 2407.01130).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, GenerationMixin, WhisperFeatureExtractor
from transformers import WhisperForConditionalGeneration as WhisperModel
from transformers.modeling_outputs import BaseModelOutput

from grids.errors import UserError, nearest
from grids.grid import Model
from tasks.backbones import resolve
from tasks.data.clips import SAMPLE_RATE_HZ
from tasks.translation.scoring import base

SOURCE = "source"  # the target "language" of a transcription: what was spoken
FFT, HOP, HALVED = 400, 160, 2  # samples; and the encoder's second convolution
IGNORED = -100  # a target that counts nothing
LOWEST = 1e-10  # of mel power


@dataclass(frozen=True)
class Whisper:
    """A folder of Whisper's type.

    Attributes:
        model: its name, and what it does in silence.
        stand_in: whose language token stands for languages that it has no token of.
    """

    model: Model
    stand_in: str

    @cached_property
    def folder(self) -> Path:
        """Where it lies."""
        return resolve(self.model.backbone)

    @cached_property
    def config(self) -> Any:
        """Its configuration.

        Raises:
            UserError: it is of another type.
        """
        config = AutoConfig.from_pretrained(self.folder, local_files_only=True)
        if config.model_type != "whisper":
            raise UserError(f"backbone {str(self.folder)!r} is of type {config.model_type!r}; allowed: 'whisper'")
        return config

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def end(self) -> int:
        """The token that ends a text."""
        return int(self.config.eos_token_id)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages that it has a token of."""
        special = [token[2:-2] for token in self.tokenizer.get_added_vocab() if token.startswith("<|")]
        return tuple(sorted(code for code in special if code.isalpha() and len(code) in (2, 3)))

    def network(self) -> WhisperModel:
        """A fresh copy of the model, on the CPU, in float32. The weights are read once a process."""
        return copy.deepcopy(_pristine(self.folder, self.model))

    def require(self, language: str, key: str) -> None:
        """Raises a `UserError` unless the tokenizer has a token of the language, which `key` of [options] names."""
        if language != SOURCE and base(language) not in self.languages:
            close = nearest(base(language), self.languages)
            raise UserError(f"{key} in [options] is {language!r}{close}, of which the tokenizer of "
                            f"{self.model.backbone!r} has no token; it knows {' '.join(self.languages)}")  # fmt: skip

    def prompt(self, source: str, target: str) -> list[int]:
        """The four tokens before a text: start, language, task, no time stamps.

        Args:
            source: the language spoken.
            target: the language to write; `SOURCE` is the one spoken.
        """
        spoken = base(source) if base(source) in self.languages else base(self.stand_in)
        written = spoken if target == SOURCE else base(target)
        to_english = written == "en" and spoken != "en"
        language, task = (spoken, "translate") if to_english else (written, "transcribe")
        tokens = ["<|startoftranscript|>", f"<|{language}|>", f"<|{task}|>", "<|notimestamps|>"]
        return list(self.tokenizer.convert_tokens_to_ids(tokens))

    def tokens(self, text: str) -> list[int]:
        """A text's tokens, without those before and after it."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def encode(self, network: WhisperModel, values_KT: torch.Tensor) -> torch.Tensor:
        """(K, T) waves, padded with zeros -> (K, P, H), the encoder's output for all positions of its window.

        Raises:
            UserError: a wave is longer than the window.
        """
        samples = self.config.max_source_positions * HALVED * HOP
        if values_KT.shape[1] > samples:
            window = samples / SAMPLE_RATE_HZ
            raise UserError(f"a clip is longer than the {window:g} s that the model hears; set max_seconds in [data]")
        waves_KT = functional.pad(values_KT.float(), (0, samples - values_KT.shape[1]))
        filters_CM = _mel_filters(self.folder).to(values_KT.device)
        return network.model.encoder(log_mel(waves_KT, filters_CM)).last_hidden_state

    def logits(self, network: WhisperModel, hidden_KPH: torch.Tensor, tokens_KL: torch.Tensor) -> torch.Tensor:
        """(K, L, V): of the token after each of (K, L)."""
        outputs = BaseModelOutput(last_hidden_state=hidden_KPH)
        return network(encoder_outputs=outputs, decoder_input_ids=tokens_KL, use_cache=False).logits

    def generate(
        self, network: WhisperModel, hidden_KPH: torch.Tensor, prompts: Sequence[list[int]], beams: int, most: int
    ) -> list[str]:
        """The texts of K clips; plain generation, since Whisper's own looks for time stamps and languages.

        Args:
            network: the model.
            hidden_KPH: (K, P, H), what the encoder makes of the clips.
            prompts: one a clip, of the same length.
            beams: of beam search; 1 is greedy.
            most: tokens after which a text ends.
        """
        prompt_KL = torch.tensor(prompts, device=hidden_KPH.device)
        most = min(prompt_KL.shape[1] + most, self.config.max_target_positions)
        own = network.generation_config
        config = GenerationConfig(
            num_beams=beams, do_sample=False, max_length=most, eos_token_id=self.end, pad_token_id=self.end,
            suppress_tokens=own.suppress_tokens, begin_suppress_tokens=own.begin_suppress_tokens,
        )  # fmt: skip
        outputs = BaseModelOutput(last_hidden_state=hidden_KPH)
        model: Any = network  # the mixin's protocol asks for more than its method uses
        found_KL = GenerationMixin.generate(
            model, generation_config=config, encoder_outputs=outputs, decoder_input_ids=prompt_KL,
            attention_mask=torch.ones(hidden_KPH.shape[:2], device=hidden_KPH.device),
        )  # fmt: skip
        texts = self.tokenizer.batch_decode(found_KL[:, prompt_KL.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]


def log_mel(waves_KT: torch.Tensor, filters_CM: torch.Tensor) -> torch.Tensor:
    """Whisper's features: (K, T) waves -> (K, M, T / 160), each clip within 80 dB of its loudest band.

    Source: `WhisperFeatureExtractor._torch_extract_fbank_features` of transformers, which takes NumPy arrays only.
    """
    with torch.autocast(waves_KT.device.type, enabled=False):
        window = torch.hann_window(FFT, device=waves_KT.device)
        power_KCF = torch.stft(waves_KT, FFT, HOP, window=window, return_complex=True)[..., :-1].abs().square()
        log_KMF = (filters_CM.T @ power_KCF).clamp(min=LOWEST).log10()
        return (torch.maximum(log_KMF, log_KMF.amax((1, 2), keepdim=True) - 8) + 4) / 4


@lru_cache(maxsize=4)
def _mel_filters(folder: Path) -> torch.Tensor:
    """(C, M): the folder's mel filter bank."""
    return torch.from_numpy(WhisperFeatureExtractor.from_pretrained(folder).mel_filters).float()


@lru_cache(maxsize=2)
def _pristine(folder: Path, model: Model) -> WhisperModel:
    """The model as read from the folder, kept for the life of the process."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        loaded: Any = WhisperModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, weights_only=True, output_loading_info=True,
            apply_spec_augment=model.spec_augment, encoder_layerdrop=model.layerdrop, decoder_layerdrop=model.layerdrop,
        )  # fmt: skip
    network, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"backbone {str(folder)!r} lacks {len(missing)} weights of its network, e.g. {missing[0]}")
    if model.freeze_feature_encoder:
        network.model.encoder.conv1.requires_grad_(False)
        network.model.encoder.conv2.requires_grad_(False)
    return network
