"""The best path and the beam search give what CTC says they should."""

from dataclasses import replace
from importlib.util import find_spec
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.job import identifying
from grids.errors import UserError
from grids.grid import parse
from grids.schema import from_table
from tasks import make_task
from tasks.asr.decoding import beam_search, greedy
from tasks.asr.system import CtcOptions

SYMBOLS = ("", "a", "b", " ")
needs_flashlight = pytest.mark.skipif(not find_spec("flashlight"), reason="needs the extra `beam`")


def one_hot(rows: list[int]) -> torch.Tensor:
    return torch.eye(len(SYMBOLS))[rows]


def test_repeated_rows_are_joined_and_blanks_part_them() -> None:
    assert greedy(one_hot([0, 1, 1, 0, 1, 2, 2, 0, 0])) == [1, 1, 2]
    assert greedy(one_hot([0, 0])) == []


def most_probable(log_FC: torch.Tensor) -> list[int]:
    """The text whose paths have the largest sum, by trying all paths."""
    total: dict[tuple[int, ...], float] = {}
    for path in product(range(log_FC.shape[1]), repeat=len(log_FC)):
        text = tuple(row for row, _ in groupby(path) if row)
        total[text] = total.get(text, 0.0) + float(log_FC[range(len(path)), list(path)].sum().exp())
    return list(max(total, key=lambda text: total[text]))


@needs_flashlight
@pytest.mark.parametrize("seed", range(8))
def test_the_beam_finds_the_most_probable_text(seed: int) -> None:
    log_FC = torch.randn(5, len(SYMBOLS), generator=torch.Generator().manual_seed(seed)).log_softmax(1)
    assert beam_search(log_FC, SYMBOLS, 200, "", 0.0) == most_probable(log_FC)


@needs_flashlight
def test_an_n_gram_model_has_its_say(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    arpa = tmp_path / "b.arpa"
    words = ["-1\t<unk>\t0", "-99\t<s>\t0", "-1\t</s>", "-3\ta\t0", "-0.1\tb\t0", "-1\t|\t0"]
    pairs = ["\\2-grams:", "-3\t<s> a", "-0.1\t<s> b"]
    counts = ["\\data\\", "ngram 1=6", "ngram 2=2"]
    arpa.write_text("\n".join([*counts, "", "\\1-grams:", *words, "", *pairs, "", "\\end\\", ""]))
    log_FC = torch.tensor([[0.05, 0.5, 0.4, 0.05]]).log()
    assert beam_search(log_FC, SYMBOLS, 10, "", 0.0) == [1]
    assert beam_search(log_FC, SYMBOLS, 10, str(arpa), 1.0) == [2]


@needs_flashlight
def test_a_missing_n_gram_model_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="no such file; allowed: an ARPA or KenLM file"):
        beam_search(one_hot([1]), SYMBOLS, 5, "/none.arpa", 1.0)


def test_an_n_gram_model_counts_by_what_it_holds_and_not_by_where_it_lies(tmp_path: Path) -> None:
    grid = parse({"task": "asr/ctc", "corpus": "synthetic", "languages": ["ca"], "seeds": 1, "samples": 4}, "mine")
    for name, text in (("a.arpa", "one"), ("b.arpa", "one"), ("c.arpa", "two")):
        (tmp_path / name).write_text(text)

    def identity(name: str) -> dict[str, Any]:
        options = {"beam": 5, **({"lm": str(tmp_path / name)} if name else {})}
        return identifying(make_task(replace(grid, options=options)).options)

    assert identity("a.arpa") == identity("b.arpa")
    assert "lm" not in identity("a.arpa")
    assert len({identity(name)["lm_sha"] for name in ("a.arpa", "c.arpa", "")}) == 3
    with pytest.raises(UserError, match="unknown key 'lm_sha'"):
        from_table(CtcOptions, {"lm_sha": ""})
    with pytest.raises(UserError, match=r"lm in .* is 'a.arpa': no absolute path; allowed"):
        CtcOptions(beam=5, lm="a.arpa")
