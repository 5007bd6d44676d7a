"""What the report says of structure, of tests and of methods, and that options and verification go with it."""

import json

import numpy as np
import pytest

from analysis.cltm import main
from analysis.matrix_csv import matrix_text
from analysis.verify import verify
from tests.analysis.factories import Folder, Truth, results, truth

REAL = ("de", "nl", "fr", "it", "es", "cy")


def folder_of(path, n=6, seeds=6):
    planted = truth(n)
    return results(path, Truth(REAL[:n], planted.r, planted.base, planted.gain), Folder(range(seeds), noise=0.01))


@pytest.mark.slow
def test_structure_is_in_the_page_and_in_a_file_that_verifies(tmp_path):
    folder = folder_of(tmp_path / "r")
    assert main([str(folder)]) == 0
    out = folder / "analysis"
    found = json.loads((out / "structure.json").read_text())
    shares = {part["name"]: part["share"] for part in found["parts"]}
    assert shares["target"] + shares["donor_beyond_target"] + shares["residual"] == pytest.approx(1)
    assert [one["name"] for one in found["distances"]] == ["family", "genus", "script", "geography", "phones"]
    page = (out / "report.html").read_text()
    for text in (
        f"{100 * shares['target']:.1f} %",
        "Mantel",
        "PageRank",
        "6 seeds",
        "N = 10",
        "Fieller",
        "without noise",
    ):
        assert text in page
    assert page.count("data:image/svg+xml;base64,") == 4
    pairs = [(tree["by"], one) for tree in found["trees"] for one in tree["clusters"][:-1]]
    by, best = min(pairs, key=lambda pair: (-pair[1]["support"], pair[1]["height"]))
    row = f'<td>{by}</td><td class="n">{len(best["languages"])}</td><td>{", ".join(best["languages"])}</td>'
    assert row in page.split("Clusters</h3>")[1].split("<tbody>")[1].split("</tr>")[0]
    assert verify(out) == []
    found["donors"][0]["effect"] += 1e-3
    (out / "structure.json").write_text(json.dumps(found))
    assert any("structure.json: donors[0].effect" in line for line in verify(out))


@pytest.mark.slow
def test_a_distance_of_the_users_is_tested_escaped_and_verified_after_a_move(tmp_path):
    places = np.arange(5.0)
    square = matrix_text(REAL[:5], np.abs(places[:, None] - places) ** 2)
    folder = folder_of(tmp_path / "r")
    (folder / "own.csv").write_text(square)
    assert main([str(folder), "--distance", f"<b>mine</b>={folder / 'own.csv'}"]) == 0
    tests = json.loads((folder / "analysis" / "structure.json").read_text())["distances"]
    assert tests[-1]["name"] == "<b>mine</b>"
    assert tests[-1]["left_out"] == ["cy"]
    assert 0 < tests[-1]["p"] <= 1
    page = (folder / "analysis" / "report.html").read_text()
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine" in page
    moved = folder.rename(tmp_path / "moved")
    assert verify(moved / "analysis") == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--no-structure"], ["--profile", "paper"]])
def test_structure_can_be_left_out_and_the_paper_profile_has_none(tmp_path, options):
    folder = folder_of(tmp_path / "r", n=3)
    assert main([str(folder), *options]) == 0
    assert not (folder / "analysis" / "structure.json").exists()
    assert not (folder / "analysis" / "map_1col.pdf").exists()
    page = (folder / "analysis" / "report.html").read_text()
    assert "<h2>Structure" not in page
    assert verify(folder / "analysis") == []


@pytest.mark.slow
def test_two_languages_with_two_seeds_give_nulls_and_reasons(tmp_path):
    folder = folder_of(tmp_path / "r", n=2, seeds=2)
    assert main([str(folder)]) == 0
    found = json.loads((folder / "analysis" / "structure.json").read_text())
    assert found["mu"] is None
    assert found["parts"] == []
    assert all(one["p"] is None and one["reason"] for one in found["distances"])
    page = (folder / "analysis" / "report.html").read_text()
    for note in (*found["notes"], "No map: fewer than three languages"):
        assert note.replace("'", "&#39;") in page


def test_a_distance_without_a_name_is_a_users_mistake(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--distance", "own.csv"])
    assert stopped.value.code == 2
    assert "name=file is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_significant_cells_carry_a_mark_and_their_q(tmp_path):
    planted = Truth(
        REAL[:3], np.array([[1, 0.9, -0.9], [0.0, 1, 0.9], [0.9, -0.9, 1]]), np.full(3, 0.5), np.full(3, 0.2)
    )
    folder = results(tmp_path / "r", planted, Folder(range(5), noise=0.004))
    assert main([str(folder), "--no-structure"]) == 0
    page = (folder / "analysis" / "report.html").read_text()
    assert page.count('<td class="helps"') == 3
    assert page.count('<td class="hurts"') == 2
    assert "positive (q = " in page
    assert "significantly helps" in page
