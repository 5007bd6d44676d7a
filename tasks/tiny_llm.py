"""The built-in speech LLM "tiny-llm": Qwen2-Audio's architecture at the smallest size, with random weights.

It is for trying things out without a download: nothing about it is pretrained. It is a folder like any other.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)
from transformers.utils.logging import disable_progress_bar

from tasks.backbones import TINY_LLM
from tasks.data.cache import cache_folder, explained, new_folder

RECIPE = 1  # raise it when `save` changes what it makes
MEL_BANDS, SECONDS, WIDTH = 40, 10, 64
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")


def folder() -> Path:
    """Its folder, made once and renamed into place."""
    place = cache_folder() / "models" / f"{TINY_LLM}-{RECIPE}"
    if not (place / "config.json").is_file():
        with explained(TINY_LLM, place.parent), new_folder(place) as temporary:
            save(temporary)
    return place


def save(place: Path, seed: int = 0) -> None:
    """Saves model and processor; clips of up to 10 s."""
    disable_progress_bar()
    tokenizer = byte_tokenizer(SPECIAL)
    config = Qwen2AudioConfig(
        audio_config={
            "num_mel_bins": MEL_BANDS, "d_model": WIDTH, "encoder_layers": 1, "encoder_attention_heads": 4,
            "encoder_ffn_dim": 2 * WIDTH, "max_source_positions": 50 * SECONDS, "initializer_range": 0.1,
        },
        text_config={
            "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1,
        },
        audio_token_index=tokenizer.vocab["<|AUDIO|>"],
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Qwen2AudioForConditionalGeneration(config).save_pretrained(place)
    extractor = WhisperFeatureExtractor(feature_size=MEL_BANDS, chunk_length=SECONDS)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(place)


def byte_tokenizer(special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are bytes, and these tokens; the first of them is padding."""
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[0])
