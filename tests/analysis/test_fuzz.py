"""Matrices, scores, results folders, recipes and arguments of random garbage: read, or refused in words."""

import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analysis import cltm, compare, geometry, interval, verify
from analysis.analyse import analyse_source
from analysis.families import read_families
from analysis.folders import read_plan
from analysis.matrix_csv import matrix_text, read_matrix
from analysis.output import write_tables
from analysis.recipe import read_recipe
from analysis.scores import RawMatrix
from analysis.scores_csv import read_scores_csv
from analysis.sources import read_source
from tests.analysis.factories import Folder, results, rows, truth
from tests.fuzzing import changed, damaged, ends_well, garbage, read, words, written

DATA = Path(__file__).parents[1] / "data"
MATRIX = b"target,ca,es,no\nca,1,0.5,\nes,-0.25,1.00,nan\nno,1.5,0.1,1\n"
SCORES = b"model_id,type,lang_src,lang_tgt,seed,f1\n" + b"".join(
    f"m,{kind},{target},{donor},{seed},{0.5 + 0.05 * (kind == 'dual') + 0.01 * seed}\n".encode()
    for seed in range(3) for target in ("ca", "es") for kind, donor in (("single", ""), ("dual", "ca"), ("dual", "es"))
)  # fmt: skip
FAMILIES = b"code,family\nca,Romance\nes,Romance\nno,Germanic\n"
RECIPE = json.dumps({"command": "python -m analysis.cltm", "arguments": ["--", "../m.csv"], "files": ["matrix.csv"]})
GRID = {"name": "toy", "task": "toy", "languages": ["ca", "es"], "seeds": 3, "samples": 10, "exclude": {"fr": "why"},
        "evaluate": "all", "mode": "matrix", "sizes": []}  # fmt: skip


def tables(path: Path) -> None:
    """The tables of a source, in which JSON holds neither NaN nor infinity, which are no JSON."""
    analysis = read(lambda: analyse_source(read_source([path])))
    for table in write_tables(analysis, path.parent) if analysis else ():
        if table.suffix == ".json":
            json.loads(table.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize(("content", "name"), [(MATRIX, "matrix.csv"), (SCORES, "scores.csv")])
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_csv_gives_numbers_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    path = written(folder, name, data.draw(damaged(content)))
    source = read(lambda: read_source([path]), named=path)
    if source is not None:
        assert all(code.strip() for code in source.content.languages)
        tables(path)


@pytest.mark.slow
def test_names_that_mean_something_elsewhere_are_drawn_written_and_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, values = ("$x^", 'a,"b"', "</script>"), np.array([[1, 0.5, -1], [0.1, 1, 2], [0.3, np.nan, 1]])
    path = written(tmp_path, "m.csv", matrix_text(names, values).encode())
    assert read_matrix(path)[0] == names
    assert ends_well(lambda: cltm.main([str(path), "--out", str(tmp_path / "out")]), capsys) == 0
    assert ends_well(lambda: verify.main([str(tmp_path / "out")]), capsys) == 0


CELLS = words | st.sampled_from(["1_000", "١", "0x1", "1e308", "-1e308", "1e-320", "1,5", '"', "\x1b[31m", "ca", "-0"])


@pytest.mark.parametrize("value", ["1e308", "-1e30", "1e-320", "0"])
@pytest.mark.parametrize("name", ["", "$x^", "a\x01b", "\u202e", "a" * 5_000, "target", "<b>", "語", "{", "\\"])
def test_a_matrix_of_extremes_has_finite_tables_or_is_refused(tmp_path: Path, value: str, name: str) -> None:
    tables(written(tmp_path, "m.csv", f"target,{name},es\n{name},1,{value}\nes,{value},1\n".encode()))


@given(st.lists(CELLS, min_size=9, max_size=9), st.permutations(["ca", "es", "no"]), st.lists(CELLS, max_size=3))
def test_a_matrix_of_random_cells_has_its_numbers_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], codes: list[str], names: list[str]
) -> None:
    names = [*names, *codes][:3]
    lines = [["target", *names], *([code, *cells[i : i + 3]] for i, code in enumerate(names))]
    content = "\n".join(",".join(line) for line in lines).encode("utf-8", "replace")
    path = written(tmp_path_factory.mktemp("m"), "m.csv", content)
    found = read(lambda: read_matrix(path), named=path)
    if found is not None:
        assert all(code.strip() for code in found[0])
        assert not np.isinf(found[1]).any()
        tables(path)


@pytest.mark.parametrize("cell", ["1_0", "١", "0x1", "1e999", "inf", "1,5"])
def test_what_only_python_calls_a_number_is_none(tmp_path: Path, cell: str) -> None:
    matrix = f'target,ca,es\nca,1,"{cell}"\nes,0,1\n'.encode()
    assert read(lambda: read_matrix(written(tmp_path, "m.csv", matrix)), named="(ca, es)") is None
    for place, text in (("f1", SCORES.replace(b"0.5\n", cell.encode() + b"\n")),
                        ("seed", SCORES.replace(b",2,", b"," + cell.encode() + b","))):  # fmt: skip
        path = written(tmp_path, "s.csv", text.replace(b"1,5", b'"1,5"'))
        assert read(lambda path=path: read_scores_csv(path), named=place) is None  # type: ignore[misc]


@given(st.lists(st.tuples(*[CELLS] * 6), min_size=1, max_size=4))
def test_scores_of_random_cells_are_fractions_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, ...]]
) -> None:
    more = "\n".join(",".join(line) for line in lines).encode("utf-8", "replace")
    path = written(tmp_path_factory.mktemp("s"), "s.csv", SCORES + more)
    source = read(lambda: read_scores_csv(path), named=path)
    if source is not None:
        known = source.content.base[~np.isnan(source.content.base)]  # type: ignore[union-attr]
        assert ((known >= 0) & (known <= 1)).all()


@given(damaged(FAMILIES))
def test_a_damaged_families_file_has_labels_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = written(tmp_path_factory.mktemp("f"), "f.csv", content)
    found = read(lambda: read_families(path), named=path)
    assert found is None or all(isinstance(label, str) for label in found.values())


@given(changed(GRID))
def test_a_grid_file_of_wrong_types_gives_a_plan_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("g")
    try:
        content = tomli_w.dumps(table).encode()
    except (TypeError, ValueError, AttributeError):  # what no TOML file can hold
        return
    path = written(folder, "grid.toml", content)
    plan = read(lambda: read_plan(folder), named=path)
    assert plan is None or all(isinstance(code, str) for code in plan.languages)


COLUMNS = [*rows(truth(2), Folder()).columns]


@settings(max_examples=60)
@given(st.sampled_from(COLUMNS), st.lists(garbage, min_size=1, max_size=2), st.booleans())
def test_a_table_of_wrong_types_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, column: str, values: list[object], everywhere: bool
) -> None:
    frame = rows(truth(2), Folder())
    new = [values[i % len(values)] if everywhere or not i else old for i, old in enumerate(frame[column])]
    frame[column] = new
    try:
        folder = results(tmp_path_factory.mktemp("r"), truth(2), frame=frame)
    except Exception:  # what no Parquet file can hold
        return
    source = read(lambda: read_source([folder]), named=folder)
    if source is not None and not isinstance(source.content, RawMatrix):
        read(lambda: analyse_source(source))


@given(damaged(RECIPE.encode()) | garbage.map(lambda value: json.dumps(value, default=str).encode()))
@example(b"[" * 100_000)
def test_a_damaged_recipe_is_texts_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("recipe")
    path = written(folder, "recipe.json", content)
    recipe = read(lambda: read_recipe(folder), named=path)
    if recipe is not None:
        assert all(isinstance(text, str) for text in (*recipe.arguments, *recipe.files))
        read(lambda: recipe.options(cltm.parser()))


COMMANDS = {"cltm": cltm, "compare": compare, "interval": interval, "geometry": geometry, "verify": verify}
ARGUMENTS = ["MATRIX", "SCORES", "--metric", "f1", "--languages", "--order", "grid", "--families", "--distance", "x=y",
             "--resample-languages", "--source", "--models", "--profile", "paper", "--", "-1"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_arguments_end_in_a_status_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    files = {"MATRIX": written(tmp_path, "m.csv", MATRIX), "SCORES": written(tmp_path, "s.csv", SCORES)}
    known = words.filter(lambda text: "\x00" not in text)
    arguments = data.draw(st.lists(known | st.sampled_from(ARGUMENTS), min_size=1, max_size=5))
    arguments = [str(files.get(text, text)) for text in arguments]
    ends_well(lambda: COMMANDS[command].main(arguments), capsys)
