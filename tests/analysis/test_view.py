"""Which languages are shown, in which order: what is asked for, what is refused, and that no statistic changes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from analysis.cltm import compute, main, parser, write_tables
from analysis.clusters import tree
from analysis.scores import Exclusion
from analysis.verify import verify
from analysis.view import chosen, view
from grids.errors import UserError
from tests.analysis.factories import Folder, Truth, results, rows, truth
from tests.analysis.test_report import Page

CODES = ("fy-NL", "no", "ca", "zh-CN", "Ab")
FAMILIES = ("Germanic", "", "Romance", "Sinitic", "Germanic")
REAL = ("de", "ca", "nl", "fr", "it", "es")


@pytest.mark.parametrize(
    ("order", "positions"), [("family", (0, 4, 2, 3, 1)), ("name", (4, 2, 0, 1, 3)), ("grid", (0, 1, 2, 3, 4))]
)
def test_each_order_is_the_one_worked_by_hand_and_a_subset_keeps_it(order, positions):
    assert view(CODES, FAMILIES, order).positions == positions
    few = view(CODES, FAMILIES, order, shown=(3, 0, 1))
    assert few.positions == tuple(i for i in positions if i in (0, 1, 3))
    assert few.note == "3 of 5 languages shown; statistics are of all 5"
    assert view(CODES, FAMILIES, order).note == ""


def test_the_order_of_the_tree_puts_languages_that_are_alike_side_by_side():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, (2, 6))[np.arange(6) % 2] + rng.normal(0, 0.05, (6, 6))
    likeness = tree(values, REAL, "targets")
    found = view(REAL, [""] * 6, "cluster", tree=likeness)
    assert sorted(found.positions) == list(range(6))
    assert len({i % 2 for i in found.positions[:3]}) == 1
    assert found.tree is likeness


def test_without_a_tree_the_order_cluster_is_refused_with_the_reason():
    with pytest.raises(UserError, match=r"a tree takes 3 languages .* allowed here: family, name, grid$"):
        view(("a", "b"), ("", ""), "cluster", tree=tree(np.array([[1, 0.5], [0.4, 1]]), ("a", "b")))


def test_languages_are_chosen_in_the_order_of_the_matrix_and_twice_is_once():
    assert chosen(CODES) == (0, 1, 2, 3, 4)
    assert chosen(CODES, ["ca", "fy-NL", "ca"]) == (0, 2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["ca", "zh-Cn"], r"unknown language 'zh-Cn' \(did you mean 'zh-CN'\?\); allowed: Ab, ca"),
        (["ca", "eu"], "language 'eu' is excluded by the grid: too few speakers"),
        (["ca", "ca"], r"1 language to show \(ca, ca\); at least 2"),
    ],
)
def test_a_language_that_cannot_be_shown_is_refused_with_the_reason(asked, message):
    with pytest.raises(UserError, match=message):
        chosen(CODES, asked, [Exclusion("eu", "too few speakers")])


def folder_of(path: Path) -> Path:
    planted = truth(6)
    return results(path, Truth(REAL, planted.r, planted.base, planted.gain), Folder(range(5), noise=0.01))


@pytest.mark.slow
def test_a_subset_is_shown_everywhere_and_changes_no_statistic(tmp_path):
    folder, whole = folder_of(tmp_path / "r"), tmp_path / "all"
    whole.mkdir()
    write_tables(compute(parser().parse_args([str(folder)])), whole)
    asked = ["--languages", "it, nl,ca", "--order", "cluster"]
    assert main([str(folder), *asked, "--out", str(tmp_path / "few")]) == 0
    for name in ("summary.json", "matrix.csv", "cells.parquet", "structure.json"):
        assert (tmp_path / "few" / name).read_bytes() == (whole / name).read_bytes()
    order = [tree["order"] for tree in json.loads((tmp_path / "few" / "structure.json").read_text())["trees"]][2]
    shown = [code for code in order if code in ("it", "nl", "ca")]
    html, page = (tmp_path / "few" / "report.html").read_text(), Page()
    page.feed(html)
    assert len(page.cells) == 9
    assert re.findall(r'<th scope="row"[^>]*>([^<]+)</th>', html) == shown
    assert html.count("3 of 6 languages shown; statistics are of all 6") == 2
    table = (tmp_path / "few" / "tables" / "matrix.tex").read_text()
    assert table.startswith("% 3 of 6 languages shown; statistics are of all 6\n")
    assert [line.split(" ")[0] for line in table.splitlines()[5:-2]] == shown
    svg = (tmp_path / "few" / "heatmap.svg").read_text()
    assert "3 of 6 languages shown" in svg
    assert not re.search(r">(de|fr|es)</text>", svg)
    assert verify(tmp_path / "few") == []


def test_a_matrix_without_self_gain_is_shown_whole_and_says_so(tmp_path, capsys):
    planted = truth(3)
    frame = rows(planted, Folder())
    folder = results(tmp_path / "r", planted, Folder(grid={"mode": "list"}), frame[frame.role != "self"])
    assert main([str(folder), "--order", "name"]) == 2
    assert "leave out --languages and --order" in capsys.readouterr().err
