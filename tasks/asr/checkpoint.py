"""Recognisers on disk; see `tasks.checkpoint`.

The folder of a fine-tuned backbone has a tokenizer too, and `HubertForCTC` and its like read it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.asr.vocabulary import BLANK, View
from tasks.checkpoint import write_card, write_own, write_plain

if TYPE_CHECKING:
    from tasks.asr.system import CtcSystem, Recogniser

PAD_TOKEN, SPACE_TOKEN = "<pad>", "|"  # of transformers' CTC tokenizer: the blank, and a space
HEAD = "lm_head"


@dataclass(frozen=True)
class Symbols:
    """What the weights of a recogniser do not say.

    Attributes:
        symbols: the names of the head's rows.
        views: what the network can write.
    """

    symbols: tuple[str, ...]
    views: tuple[View, ...]


def write(task: "CtcSystem", network: "Recogniser", folder: Path) -> None:
    """Writes the card and the weights into a folder that is there."""
    write_card(task, Symbols(network.symbols, network.views), folder)
    backbone = getattr(network.encoder, "backbone", None)
    if backbone is None or len(network.encoder.adapters):
        return write_own(network, folder)
    from transformers import AutoModelForCTC

    settings = {"vocab_size": len(network.symbols), "pad_token_id": 0, "ctc_loss_reduction": "mean"}
    write_plain(backbone, AutoModelForCTC, settings, {HEAD: network.head}, folder)
    _write_tokenizer(network.symbols, folder)


def _write_tokenizer(symbols: tuple[str, ...], folder: Path) -> None:
    """Writes transformers' tokenizer of the symbols."""
    from transformers import Wav2Vec2CTCTokenizer

    names = {BLANK: PAD_TOKEN, " ": SPACE_TOKEN}
    vocabulary = {names.get(symbol, symbol): row for row, symbol in enumerate(symbols)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), bos_token=None, eos_token=None, unk_token=PAD_TOKEN, pad_token=PAD_TOKEN,
        word_delimiter_token=SPACE_TOKEN,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
