"""The built-in speech translator "tiny-whisper": Whisper's architecture at the smallest size, with random weights.

It is for trying things out without a download: nothing about it is pretrained. It is a folder like any other, with a
byte-level tokenizer that writes anything, shortest in the synthetic corpus's Chinese and English; its language tokens
are Whisper's own, as far as the synthetic corpus speaks them.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES as KNOWN
from transformers.utils.logging import disable_progress_bar

from tasks.backbones import TINY_WHISPER
from tasks.data.cache import cache_folder, explained, new_folder
from tasks.data.cldr import sentences
from tasks.data.synthetic import LANGUAGES

RECIPE = 2  # raise it when `save` changes what it makes
MEL_BANDS, SECONDS, WIDTH, POSITIONS = 40, 5, 64, 192
PIECES, WRITTEN = 1200, ("zh", "en")
LOUDNESS = 3.0  # of the encoder's last norm, so that attention tells the frames of a random encoder apart
END, START = "<|endoftext|>", "<|startoftranscript|>"
TASKS = ("<|translate|>", "<|transcribe|>", "<|notimestamps|>")


def folder() -> Path:
    """Its folder, made once and renamed into place."""
    place = cache_folder() / "models" / f"{TINY_WHISPER}-{RECIPE}"
    if not (place / "config.json").is_file():
        with explained(TINY_WHISPER, place.parent), new_folder(place) as temporary:
            save(temporary)
    return place


def save(place: Path, seed: int = 0) -> None:
    """Saves model, tokenizer and feature extractor; clips of up to 5 s."""
    disable_progress_bar()
    tokenizer = tiny_tokenizer()
    end, start = (tokenizer.convert_tokens_to_ids(token) for token in (END, START))
    ends: Any = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=MEL_BANDS, d_model=WIDTH, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=2 * WIDTH, decoder_ffn_dim=2 * WIDTH,
        max_source_positions=50 * SECONDS, max_target_positions=POSITIONS, init_std=0.1,
        suppress_tokens=None, begin_suppress_tokens=None, **ends,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(config)
        model.model.encoder.layer_norm.weight.data.mul_(LOUDNESS)
    model.generation_config = GenerationConfig(max_length=POSITIONS, **ends)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    WhisperFeatureExtractor(feature_size=MEL_BANDS, chunk_length=SECONDS).save_pretrained(place)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Pieces of the names that the synthetic corpus is made of, and Whisper's special tokens but its time stamps."""
    texts = [sentence.text for language in WRITTEN for split in sentences(language).values() for sentence in split]
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False)
    )
    languages = [f"<|{code}|>" for code in LANGUAGES if code in KNOWN]
    learnt.add_special_tokens([END, START, *languages, *TASKS])
    return PreTrainedTokenizerFast(tokenizer_object=learnt, pad_token=END, eos_token=END)
