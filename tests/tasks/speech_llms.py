"""Small random speech LLMs of several families, saved as a user would save one."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    Blip2QFormerConfig,
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
    WhisperFeatureExtractor,
)

from tasks import tiny_llm

LANGUAGE_MODEL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.1,
}  # fmt: skip
TEXT_ALONE = "{% for message in messages %}{{ '[' + message['role'] + '] ' + message['content'] }}{% endfor %}"


def save_flamingo(folder: Path) -> None:
    """Audio Flamingo 3: Whisper's encoder and Qwen2; a processor without a chat template."""
    tokenizer = tiny_llm.byte_tokenizer(("<|endoftext|>", "<sound>"))
    config = AudioFlamingo3Config(
        audio_config={
            "num_mel_bins": 20, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
            "intermediate_size": 32, "max_source_positions": 100,
        },
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **LANGUAGE_MODEL},
        audio_token_id=tokenizer.vocab["<sound>"],
    )  # fmt: skip
    AudioFlamingo3ForConditionalGeneration(config).save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=20, chunk_length=2)
    AudioFlamingo3Processor(extractor, tokenizer).save_pretrained(folder)


def save_granite(folder: Path) -> None:
    """Granite Speech: a conformer that does not mask padding, a Q-former and Granite; a template for text alone."""
    tokenizer = tiny_llm.byte_tokenizer(("<|endoftext|>", "<|audio|>"))
    config = GraniteSpeechConfig(
        text_config={"model_type": "granite", "vocab_size": len(tokenizer), **LANGUAGE_MODEL},
        encoder_config={"input_dim": 160, "num_layers": 2, "hidden_dim": 24, "num_heads": 4, "output_dim": 8},
        projector_config=Blip2QFormerConfig(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, encoder_hidden_size=24
        ).to_dict(),
        audio_token_index=tokenizer.vocab["<|audio|>"],
        has_lora_adapter=False,
    )
    GraniteSpeechForConditionalGeneration(config).save_pretrained(folder)
    processor = GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer, chat_template=TEXT_ALONE)
    processor.save_pretrained(folder)


FAMILIES: Mapping[str, Callable[[Path], None]] = {
    "qwen2_audio": tiny_llm.save,
    "audioflamingo3": save_flamingo,
    "granite_speech": save_granite,
}


def save(family: str, folder: Path) -> str:
    """Saves a model of the family and returns the folder's name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        FAMILIES[family](folder)
    return str(folder)
