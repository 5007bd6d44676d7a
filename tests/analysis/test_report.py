"""The report: one file that asks for nothing, whose text is escaped and whose matrix is complete."""

from html.parser import HTMLParser
from pathlib import Path

from analysis.analyse import Analysis, analyse
from analysis.report import render
from tests.analysis.factories import Folder, results, rows, truth

DATA = Path(__file__).parents[1] / "data"
HOSTILE = '<script>alert("x")</script> & more'


class Page(HTMLParser):
    """Collects what a browser would do with the page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.cells: dict[str, str] = {}
        self.text = ""
        self.tip = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [values[name] or "" for name in ("src", "href", "data", "srcset") if name in values]
        self.tip = values.get("title") or ""
        if tag == "td" and self.tip:
            self.cells[self.tip] = ""

    def handle_data(self, data):
        self.text += data
        if self.tip in self.cells:
            self.cells[self.tip] += data.strip()


def parse(analysis: Analysis) -> Page:
    page = Page()
    page.feed(render(analysis))
    return page


def example(folder: Path) -> Analysis:
    planted = truth(4)
    planted.gain[1] = 0.0
    how = Folder(seeds=range(3), noise=0.004, grid={"name": HOSTILE, "exclude": {"xx": HOSTILE}})
    frame = rows(planted, how)
    frame = frame[~((frame.role == "cross") & (frame.language == "no") & (frame.donor == "fy-NL"))]
    return analyse(results(folder, planted, how, frame), DATA / "families.csv")


def test_the_report_asks_for_nothing_outside_itself(tmp_path):
    html, page = render(example(tmp_path)), parse(example(tmp_path))
    assert page.links == ["data:,"]
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_a_code_tells_the_languages_name_when_pointed_at(tmp_path):
    html = render(example(tmp_path))
    assert html.count('title="Norwegian"') == 1
    assert html.count('title="Norwegian, ') == 1


def test_text_of_users_is_escaped(tmp_path):
    html, page = render(example(tmp_path)), parse(example(tmp_path))
    assert "alert(" not in html.replace("&lt;script&gt;alert(", "")
    assert page.tags.count("script") == 1
    assert page.text.count(HOSTILE) >= 2


def test_every_cell_tells_value_interval_seeds_and_status(tmp_path):
    analysis = example(tmp_path)
    cells = parse(analysis).cells
    assert len(cells) == 16
    tip = next(tip for tip in cells if tip.startswith("target no, donor zh-CN"))
    value, lower = analysis.cltm.r[0, 1], analysis.cltm.lower[0, 1]
    minus = "\N{MINUS SIGN}"
    assert f"r = {value:.3f}".replace("-", minus) in tip
    assert f"[{lower:.3f}".replace("-", minus) in tip
    assert "3 seeds" in tip
    assert tip.endswith("defined")
    assert cells[tip] == f"{value:.2f}".replace("-", minus)
    undefined = [tip for tip in cells if tip.startswith("target zh-CN") and tip.endswith("undefined")]
    assert len(undefined) == 3
    assert all(cells[tip] == "" for tip in undefined)
    assert [tip for tip in cells if tip.endswith("missing")] == [
        "target no, donor fy-NL: r = \N{EN DASH}, gain \N{EN DASH}, 0 seeds, missing"
    ]


def test_hashes_holes_exclusions_and_every_aggregate_are_there(tmp_path):
    analysis = example(tmp_path)
    text = parse(analysis).text
    for expected in (
        analysis.provenance.sha256,
        "c0ffee",
        "da7a",
        "3 scores that the grid expects are not there",
        "xx",
    ):
        assert expected in text
    for value in analysis.values:
        assert value.aggregate.title in text
        assert value.aggregate.meaning in text


def test_a_bare_matrix_says_what_it_does_not_know():
    text = parse(analyse(DATA / "asr_mhubert.csv", DATA / "families.csv")).text
    assert "no cell has an interval" in text
    assert "Not known: a bare matrix." in text
    assert "Not known: no grid says which scores to expect." in text
    assert "\N{MINUS SIGN}0.00" in text  # -0.001 keeps its sign
