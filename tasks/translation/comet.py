"""COMET of kept translations, in an environment of its own: unbabel-comet needs an older transformers than we do.

    python -m venv comet && comet/bin/pip install unbabel-comet pandas pyarrow
    comet/bin/python -m tasks.translation.comet results/NAME [--model Unbabel/wmt22-comet-da]

It reads `predictions/*.parquet` of a results folder (`keep = ["predictions"]`) and writes `comet.parquet` beside: a
row a trial, language and language written, with the mean score of its sentences. Trials that it holds are not scored
again. Nothing of it enters the results.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from grids.errors import UserError, one_line_errors

OUT = "comet.parquet"
MODEL = "Unbabel/wmt22-comet-da"
NEEDED = ("language", "to", "source", "reference", "guess")
Scorer = Callable[[list[dict[str, str]]], Sequence[float]]


def score_folder(results: Path, model: str, scorer: Callable[[str], Scorer]) -> pd.DataFrame:
    """Scores what is not scored yet and writes the table.

    Args:
        results: a results folder.
        model: COMET's name.
        scorer: makes of a model's name what scores triples `src`, `mt`, `ref`.

    Returns:
        `trial`, `language`, `to`, `comet`, `n`, `model`.

    Raises:
        UserError: no kept predictions, or they are not of translations.
    """
    files = sorted((results / "predictions").glob("*.parquet"))
    if not files:
        raise UserError(f'{str(results)!r} has no predictions; run its grid with keep = ["predictions"]')
    out = results / OUT
    done = pd.read_parquet(out) if out.exists() else pd.DataFrame(columns=["trial", "model"])
    known = set(zip(done["trial"], done["model"], strict=True))
    left = [path for path in files if (path.stem, model) not in known]
    if left:
        score = scorer(model)
        table = pd.concat([done, *(_scored(path, model, score) for path in left)], ignore_index=True)
        partial = out.with_suffix(".partial")
        table.to_parquet(partial)
        os.replace(partial, out)  # noqa: PTH105 (pathlib's own is the same)
        return table
    return done


def _scored(path: Path, model: str, score: Scorer) -> pd.DataFrame:
    """The rows of one trial.

    Raises:
        UserError: the file is not of translations.
    """
    table = pd.read_parquet(path)
    if missing := [name for name in NEEDED if name not in table]:
        raise UserError(f"{path} has no column {missing[0]!r}: it holds no translations")
    table = table[table["to"] != "source"]
    names = {"source": "src", "guess": "mt", "reference": "ref"}
    triples: Any = table[list(names)].rename(columns=names).to_dict("records")
    table = table.assign(comet=list(score(triples)))
    means = table.groupby(["language", "to"], as_index=False).agg(comet=("comet", "mean"), n=("comet", "size"))
    return means.assign(trial=path.stem, model=model)


def _comet(model: str) -> Scorer:
    """The real scorer.

    Raises:
        UserError: unbabel-comet is not installed.
    """
    try:
        from comet import download_model, load_from_checkpoint
    except ImportError:
        raise UserError("unbabel-comet is not installed here; it needs an environment of its own") from None
    network = load_from_checkpoint(download_model(model))

    def score(triples: list[dict[str, str]]) -> Sequence[float]:
        return list(network.predict(triples, batch_size=32, gpus=0, progress_bar=False).scores)

    return score


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.translation.comet", description="COMET of kept translations."
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", default=MODEL)
    asked = parser.parse_args(arguments)
    table = score_folder(asked.results, asked.model, _comet)
    print(table.to_string(index=False))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(one_line_errors(main))
