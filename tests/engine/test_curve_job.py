"""A learning curve through engine and store."""

from pathlib import Path

import pytest

from engine.job import settle
from grids.errors import UserError
from tests.engine.jobs import toy_job
from tests.engine.test_job import run_all

CURVE = {"mode": "curve", "samples": 0, "sizes": [8, 16]}


def test_every_score_of_a_curve_is_a_base_at_its_size(tmp_path: Path) -> None:
    assert run_all(tmp_path, **CURVE) == 2 * 2 * 3
    table = toy_job(tmp_path, **CURVE).store.compact(0).to_pylist()
    assert {(row["role"], row["donor"], row["samples"], row["mixture"]) for row in table} == {
        ("base", "", size, f"{size}*{code}") for size in (8, 16) for code in ("ca", "no")
    }


def test_a_finished_curve_grows_by_a_size_and_trains_only_that(tmp_path: Path) -> None:
    run_all(tmp_path, **CURVE)
    before = {path.name: path.read_bytes() for path in (tmp_path / "trials").iterdir()}
    assert run_all(tmp_path, **{**CURVE, "sizes": [4, 16]}) == 2 * 3
    after = {path.name: path.read_bytes() for path in (tmp_path / "trials").iterdir()}
    assert before.items() <= after.items()
    assert "sizes = [\n    4,\n    8,\n    16,\n]" in (tmp_path / "grid.toml").read_text()


def test_a_matrix_is_refused_in_a_curves_folder(tmp_path: Path) -> None:
    run_all(tmp_path, **CURVE)
    with pytest.raises(UserError, match="samples is 0 there and 8 in the grid"):
        settle(toy_job(tmp_path))
