"""The figure: nothing falls off it at any size, its scale, and its text stays text."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from analysis.analyse import Analysis, analyse
from analysis.drawing import STYLE, WIDTHS
from analysis.layout import NUMBERS_UP_TO
from analysis.palette import colour_limit, family_order, hex_colour, ink
from analysis.plots import heatmap, write_heatmap
from analysis.view import view
from tests.analysis.factories import Folder, results, rows, truth

DATA = Path(__file__).parents[1] / "data"


def lightness(colour: str) -> float:
    """Relative luminance (WCAG 2) of "#rrggbb", as a grey printer shows it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def random_matrix(folder: Path, n: int) -> Analysis:
    rng = np.random.default_rng(n)
    codes = ["en@Scottish English", *(f"l{i}" for i in range(n - 1))]
    values = rng.normal(0, 1, (n, n))
    np.fill_diagonal(values, 1.0)
    lines = [",".join([code, *(f"{value:.3f}" for value in row)]) for code, row in zip(codes, values, strict=True)]
    (folder / "m.csv").write_text("\n".join([",".join(["target", *codes]), *lines]))
    families = [f"{code},{('Turkic', 'Indo-European (Indo-Aryan)', '')[i // 4 % 3]}" for i, code in enumerate(codes)]
    (folder / "f.csv").write_text("\n".join(["code,family", *families]))
    return analyse(folder / "m.csv", folder / "f.csv")


@pytest.mark.slow
@pytest.mark.parametrize("order", ["family", "name"])
@pytest.mark.parametrize("width", WIDTHS.values())
@pytest.mark.parametrize("n", [4, 44, 147])
def test_every_text_lies_inside_a_column_and_families_names_stay_apart(tmp_path, n, width, order):
    found = random_matrix(tmp_path, n)
    shown = view(found.cltm.languages, found.cltm.families, order)
    with matplotlib.rc_context(STYLE):
        figure = heatmap(replace(found, view=shown), width)
        figure.draw_without_rendering()
        assert figure.get_figwidth() == pytest.approx(width)
        texts = [*figure.texts, *figure.axes[0].texts, *figure.axes[0].get_yticklabels()]
        texts += [text for legend in figure.legends for text in legend.get_texts()]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert min(box.x0 for box in boxes) >= -1
        assert max(box.x1 for box in boxes) <= figure.bbox.x1 + 1
        assert min(box.y0 for box in boxes) >= -1
        names = [text.get_window_extent() for text in figure.axes[0].texts if text.get_ha() == "left"]
        assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(names))
        assert (len(names) > 0) == (order == "family" and width > 5)


@pytest.mark.parametrize("n", [1, 2, 4, 20, 44, 147])
def test_every_text_lies_inside_the_figure_and_labels_do_not_overlap(tmp_path, n):
    figure = heatmap(random_matrix(tmp_path, n))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    page = figure.bbox
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts, *figure.texts, axes.xaxis.label]
    texts += [axes.yaxis.label, figure.axes[1].xaxis.label]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    for box in boxes:
        assert box.x0 >= page.x0
        assert box.y0 >= page.y0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1
    rows_ = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(rows_))
    numbers = [text for text in axes.texts if text.get_text()[-3:-2] == "."]
    assert len(numbers) == (n * n if n <= NUMBERS_UP_TO else 0)


def test_scale_is_centred_on_zero_marks_one_and_does_not_bleach_for_outliers():
    figure = heatmap(analyse(DATA / "sv_mhubert.csv", DATA / "families.csv"))
    bar = figure.axes[1]
    low, high = bar.get_xlim()
    assert low == -high == -2.5
    assert [tick.get_text() for tick in bar.get_xticklabels()] == ["\N{MINUS SIGN}2.5", "0", "1", "2.5"]
    assert colour_limit(np.array([0.5, 1.0, -10.0] + [0.3] * 97)) == 1.25
    assert colour_limit(np.array([1.2, -1.45])) == 1.5
    assert colour_limit(np.array([np.nan])) == 1.25


def test_lightness_falls_monotonically_away_from_zero_on_both_sides():
    for sign in (-1, 1):
        grey = [lightness(hex_colour(sign * value, 1.0)) for value in np.linspace(0, 1, 60)]
        assert np.all(np.diff(grey) < 0)


def test_numbers_stand_out_from_every_colour_of_the_scale():
    for value in np.linspace(-1, 1, 201):
        colour = hex_colour(value, 1.0)
        light, dark = sorted([lightness(colour), lightness(ink(colour))], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, value  # WCAG 2 AA


def test_families_are_brought_together_in_order_of_appearance_with_unknown_ones_last():
    assert family_order(("b", "", "a", "b", "a")) == (0, 3, 2, 4, 1)


@pytest.mark.slow
def test_files_hold_real_text_and_cells_kept_out_are_in_the_legend(tmp_path):
    planted = truth(5, seed=2)
    planted.gain[1], planted.gain[2] = 0.0, -0.2
    how = Folder(seeds=range(4), noise=0.005)
    frame = rows(planted, how)
    frame = frame[~((frame.role == "cross") & (frame.language == "no") & (frame.donor == "zh-CN"))]
    analysis = analyse(results(tmp_path, planted, how, frame), DATA / "families.csv")
    paths = write_heatmap(analysis, tmp_path)
    stems = ("heatmap", "heatmap_1col", "heatmap_2col")
    assert [path.name for path in paths] == [f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "svg", "png")]
    svg = paths[1].read_text()
    for text in ("cmn_hans_cn", "donor", "undefined (4)", "negative self gain (4)", "missing (1)"):
        assert f">{text}<" in svg
    assert b"/FontFile2" in paths[0].read_bytes()  # TrueType, so that text can be searched and edited
    assert paths[2].read_bytes()[:4] == b"\x89PNG"
    assert not list(tmp_path.glob(".*"))  # no temporary file stays


@pytest.mark.slow
def test_the_same_analysis_gives_the_same_bytes(tmp_path):
    analysis = random_matrix(tmp_path, 3)
    first = [path.read_bytes() for path in write_heatmap(analysis, tmp_path)]
    assert first == [path.read_bytes() for path in write_heatmap(analysis, tmp_path)]
