"""A matrix as CSV: what comes back, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.analyse import analyse
from analysis.matrix_csv import matrix_text, read_matrix
from grids.errors import UserError
from tests.analysis.factories import Folder, results, truth

FAMILIES = Path(__file__).parents[1] / "data" / "families.csv"


def test_columns_follow_the_order_of_the_rows_and_a_small_negative_keeps_its_sign(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("target,no,zh-CN,ca\nca,0.5,-0.001,1.00\nno,1.00,,0.25\nzh-CN,NaN,1,2\n")
    languages, values = read_matrix(path)
    assert languages == ("ca", "no", "zh-CN")
    np.testing.assert_array_equal(values, [[1, 0.5, -0.001], [0.25, 1, np.nan], [2, np.nan, 1]])


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_what_is_written_is_read_back_bit_for_bit(tmp_path_factory, n, draw):
    rng = np.random.default_rng(draw)
    values = np.where(rng.random((n, n)) < 0.2, np.nan, rng.normal(0, 10, (n, n)))
    np.fill_diagonal(values, 1.0)
    codes = tuple(f"l{i}" for i in range(n))
    path = tmp_path_factory.mktemp("m") / "m.csv"
    path.write_text(matrix_text(codes, values))
    languages, back = read_matrix(path)
    assert languages == codes
    np.testing.assert_array_equal(back, values)


def test_the_matrix_written_from_scores_gives_the_same_aggregates(tmp_path):
    planted = truth(8, seed=4)
    planted.gain[2] = 0.0  # its row is undefined
    analysis = analyse(results(tmp_path, planted, Folder(seeds=range(4), noise=0.01)), FAMILIES)
    assert 0 < analysis.cltm.used.sum() < 56
    path = tmp_path / "matrix.csv"
    path.write_text(matrix_text(analysis.cltm.languages, analysis.cltm.values))
    again = {value.aggregate.key: value.value for value in analyse(path, FAMILIES).values}
    for value in analysis.values:
        if not value.aggregate.key.endswith(("_se", "_cells")) or value.aggregate.key == "used_cells":
            assert again[value.aggregate.key] == pytest.approx(value.value), value.aggregate.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target,a,b\na,1,0\nb,0,1\nc,0,0\n", r"not square: 3 rows and 2 columns .* only in the rows: c$"),
        ("target,a,b\na,1,0\nc,0,1\n", r"only in the rows: c; only in the columns: b"),
        ("target,a,a\na,1,0\nb,0,1\n", "column 'a' is there more than once"),
        ("target,a,b\na,1,0\na,0,1\n", "row 'a' is there more than once"),
        ("target,a,b\na,1,x7\nb,0,1\n", r"cell \(a, b\) is 'x7'"),
        ("target,a,b\na,1,inf\nb,0,1\n", r"cell \(a, b\) is 'inf'"),
        ("target,a,b\na,1\nb,0,1\n", "row 'a' has 1 cells, the header names 2 donors"),
        ("target,a,b\na,0.4,1\nb,0,1\n", r"cell \(a, a\) is 0.4"),
        ("", "holds no matrix"),
        ("target,a\n", "holds no matrix"),
    ],
)
def test_a_csv_that_is_no_matrix_is_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_matrix(path)
