"""Figures of structure: every text inside, no names that collide, real text, reasons for what is missing."""

from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from analysis.clusters import tree
from analysis.drawing import OTHER, STYLE, WIDTHS, family_marks, numbered_marks
from analysis.figures import ROWS_SHOWN, components_figure, map_figure, scores_figure, write_figures
from analysis.graph import graph
from analysis.spectrum import spectrum
from analysis.structure import structure
from tests.analysis.test_structure import codes, known, planted


def parts(n: int):
    rng = np.random.default_rng(n)
    values, seeds = known(planted("half", n, rng), 6, 0.2, rng)
    np.fill_diagonal(values, 1.0)
    families = [f"Family {i % 13}" if i % 5 else "" for i in range(n)]
    return values, codes(n), families, seeds


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 44, 147])
@pytest.mark.parametrize("width", list(WIDTHS.values()))
def test_every_text_lies_inside_the_figure_and_names_do_not_collide(n, width):
    values, languages, families, seeds = parts(n)
    with matplotlib.rc_context(STYLE):
        for figure in (
            components_figure(spectrum(values), languages, families, width),
            map_figure(graph(values, languages), width),
            scores_figure(structure(values, languages, seeds), width),
        ):
            figure.draw_without_rendering()
            page = figure.bbox.padded(1)
            texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
            for axes in figure.axes:
                texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
                texts += [axes._left_title, axes.title] if hasattr(axes, "_left_title") else [axes.title]
            for text in (text for text in texts if text.get_text()):
                box = text.get_window_extent()
                assert page.x0 <= box.x0 <= box.x1 <= page.x1, text.get_text()
                assert page.y0 <= box.y0 <= box.y1 <= page.y1, text.get_text()
            named = [text for axes in figure.axes for text in axes.texts if text.get_text() in languages]
            boxes = [text.get_window_extent() for text in named]
            assert not any(
                one.shrunk(0.9, 0.8).overlaps(other.shrunk(0.9, 0.8)) for one, other in combinations(boxes, 2)
            )


def test_long_lists_show_the_first_and_the_last():
    values, languages, _, _ = parts(60)
    found = structure(values, languages)
    figure = scores_figure(found, 3.5)
    shown = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert len(shown) == ROWS_SHOWN
    by_rank = sorted(found.donors, key=lambda one: one.rank)
    assert (shown[0], shown[-1]) == (by_rank[0].language, by_rank[-1].language)
    assert "\N{VERTICAL ELLIPSIS}" in shown


@pytest.mark.slow
def test_files_at_both_widths_hold_real_text_and_are_the_same_each_time(tmp_path):
    values, languages, families, seeds = parts(5)
    found, network = structure(values, languages, seeds), graph(values, languages, seeds)
    likeness = tree(values, languages, seeds=seeds)
    drawn = write_figures(values, languages, families, found, network, likeness, tmp_path)
    assert len(drawn.paths) == 4 * 2 * 3
    assert drawn.notes == ()
    svg = (tmp_path / "map_1col.svg").read_text()
    assert ">cmn_hans_cn<" in svg
    assert b"/FontFile2" in (tmp_path / "scores_2col.pdf").read_bytes()
    first = {path: path.read_bytes() for path in drawn.paths if path.suffix != ".png"}
    write_figures(values, languages, families, found, network, likeness, tmp_path)
    assert all(path.read_bytes() == content for path, content in first.items())


@pytest.mark.parametrize("n", [2, 3])
def test_what_can_not_be_drawn_is_said(tmp_path: Path, n: int):
    values = np.full((n, n), np.nan)
    values[0, 1] = 0.3
    found = structure(values, codes(n)), graph(values, codes(n)), tree(values, codes(n))
    drawn = write_figures(values, codes(n), [""] * n, *found, tmp_path)
    assert drawn.paths == ()
    assert len(drawn.notes) == 4


def test_marks_differ_in_shape_and_rare_families_share_one():
    families = [name for k in range(14) for name in [f"f{k}"] * (15 - k)]
    marks = family_marks([*families, ""])
    named = {mark for mark in marks if mark.name not in (OTHER, "unknown")}
    assert len({mark.shape for mark in named}) == len(named) == 9
    assert marks[-1].name == "unknown"
    assert {mark.name for mark in numbered_marks([0, 0, 1], "community")} == {"community 1", "community of one"}
