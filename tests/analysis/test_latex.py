"""LaTeX tables: every row has every column, text is escaped, what is not known is a dash."""

from pathlib import Path

from analysis.analyse import analyse
from analysis.latex import aggregates_latex, escaped, matrix_latex, write_latex
from tests.analysis.factories import Folder, results, truth

DATA = Path(__file__).parents[1] / "data"


def test_both_tables_are_whole_and_hostile_codes_are_escaped(tmp_path):
    found = analyse(results(tmp_path / "r", truth(4), Folder(range(5), noise=0.01)))
    paths = write_latex(found, tmp_path)
    assert [path.name for path in paths] == ["aggregates.tex", "matrix.tex"]
    for path in paths:
        lines = path.read_text().splitlines()
        count = len(lines[0].split("{")[-1].rstrip("}"))
        assert all(line.replace(r"\&", "").count(" & ") == count - 1 for line in lines if line.endswith(r"\\"))
    text = paths[1].read_text()
    assert r"cmn\_hans\_cn" in text
    assert text.count("$1.00$") >= 4
    assert r"\mathbf{" in text
    assert "Without noise" in paths[0].read_text()


def test_a_bare_matrix_has_no_empty_columns_and_nothing_bold():
    found = analyse(DATA / "asr_mhubert.csv", DATA / "families.csv")
    table = aggregates_latex(found.values)
    assert "Without noise" not in table
    assert r"prop$>$1 & $0.00\,\%$" in table
    assert "mathbf" not in matrix_latex(found)


def test_every_special_letter_is_escaped():
    assert escaped("a_b&c%d") == r"a\_b\&c\%d"
    assert escaped("\\{}") == r"\textbackslash{}\{\}"
