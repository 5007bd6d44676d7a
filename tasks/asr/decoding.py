"""From frame-wise log probabilities to rows of symbols: the best path, or a beam search with an optional n-gram model.

The beam search is torchaudio's (flashlight), in the extra `beam`. Its n-gram model is one of characters, in ARPA or
KenLM's binary format: the tokens are the vocabulary's characters, and "|" stands for a space.
"""

from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch

from grids.errors import UserError
from grids.files import named_file

BLANK_TOKEN, SPACE_TOKEN = "<blank>", "|"


def greedy(log_FC: torch.Tensor) -> list[int]:
    """The rows of the best path: repetitions joined, then blanks (row 0) left out.

    Args:
        log_FC: (F, C) log probabilities, or anything with the same order.
    """
    return [row for row in torch.unique_consecutive(log_FC.argmax(1)).tolist() if row]


def beam_search(log_FC: torch.Tensor, symbols: tuple[str, ...], size: int, lm: str, lm_weight: float) -> list[int]:
    """The rows of the most probable text, all its paths taken together, with an n-gram model's say.

    Args:
        log_FC: (F, C) float32 log probabilities.
        symbols: of the C rows, the blank first.
        size: hypotheses that are followed.
        lm: the file of an n-gram model of characters; "" for none.
        lm_weight: of its log probabilities.

    Raises:
        UserError: flashlight-text is not installed, or there is no such file.
    """
    if not len(log_FC):
        return []
    best = _decoder(symbols, size, lm, lm_weight)(log_FC.detach().float().cpu()[None].contiguous())[0][0]
    return [row for row in best.tokens.tolist() if row]


@lru_cache(maxsize=8)
def _decoder(symbols: tuple[str, ...], size: int, lm: str, lm_weight: float) -> Any:
    """The decoder of torchaudio, whose silence is the blank: it adds none of its own then."""
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError) as error:
        raise UserError(f"beam search needs the extra `beam` (pip install 'cltm-engine[beam]'): {error}") from None
    tokens = [BLANK_TOKEN, *(SPACE_TOKEN if symbol == " " else symbol for symbol in symbols[1:])]
    with NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as words:  # left out, they would be in any order
        words.write("\n".join([*tokens, "<unk>"]))
        words.flush()
        try:
            return ctc_decoder(
                lexicon=None, tokens=tokens, lm=str(lm_file(lm)) if lm else None, lm_dict=words.name if lm else None,
                nbest=1, beam_size=size, beam_size_token=len(tokens), beam_threshold=1e4, lm_weight=lm_weight,
                log_add=True, blank_token=BLANK_TOKEN, sil_token=BLANK_TOKEN,
            )  # fmt: skip
        except (ImportError, RuntimeError) as error:
            raise UserError(f"the n-gram model {lm!r} cannot be used (is kenlm installed?): {error}") from None


def lm_file(lm: str) -> Path:
    """The n-gram model that the option names.

    Raises:
        UserError: there is none.
    """
    return named_file("lm", lm, "an ARPA or KenLM file of characters")
