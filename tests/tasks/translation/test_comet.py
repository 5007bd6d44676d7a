"""COMET runs elsewhere: what it is given, what it leaves, and that nothing is scored twice."""

from pathlib import Path

import pandas as pd
import pytest

from grids.errors import UserError
from tasks.translation.comet import score_folder


def predictions(folder: Path, trial: str, **columns: list[str]) -> None:
    table = {"language": ["ca", "ca", "es", "ca"], "to": ["zh", "zh", "zh", "source"], "source": ["a", "b", "c", "a"],
             "reference": ["甲", "乙", "丙", "a"], "guess": ["甲", "x", "丙", "a"], **columns}  # fmt: skip
    (folder / "predictions").mkdir(exist_ok=True)
    pd.DataFrame(table).to_parquet(folder / "predictions" / f"{trial}.parquet")


def test_means_are_of_each_language_and_target_and_no_trial_is_scored_twice(tmp_path: Path) -> None:
    asked: list[int] = []

    def scorer(model: str):  # type: ignore[no-untyped-def]
        def score(triples: list[dict[str, str]]) -> list[float]:
            asked.append(len(triples))
            return [float(triple["mt"] == triple["ref"]) for triple in triples]

        return score

    predictions(tmp_path, "one")
    table = score_folder(tmp_path, "m", scorer)
    assert {(r.trial, r.language, r.to, r.comet, r.n) for r in table.itertuples()} == {
        ("one", "ca", "zh", 0.5, 2), ("one", "es", "zh", 1.0, 1),
    }  # fmt: skip
    predictions(tmp_path, "two")
    assert len(score_folder(tmp_path, "m", scorer)) == 4
    assert asked == [3, 3]
    assert pd.read_parquet(tmp_path / "comet.parquet").equals(score_folder(tmp_path, "m", scorer))


def test_a_folder_without_translations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="keep"):
        score_folder(tmp_path, "m", lambda model: lambda triples: [])
    (tmp_path / "predictions").mkdir()
    pd.DataFrame({"language": ["ca"]}).to_parquet(tmp_path / "predictions" / "one.parquet")
    with pytest.raises(UserError, match="'to'"):
        score_folder(tmp_path, "m", lambda model: lambda triples: [])
