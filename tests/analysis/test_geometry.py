"""Distances of embeddings: inside one model only, averaged in a fixed order, tested with languages exchanged."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.centroids import Model, cloud, geometry, rank_test
from analysis.geometry import find, main
from analysis.verify import verify
from grids.errors import UserError
from tests.analysis.factories import Folder, results, rows, truth


def test_a_cloud_worked_by_hand():
    found = cloud(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert found.centroid.tolist() == [0.5, 0.5]
    assert found.within_euclidean == pytest.approx(np.sqrt(0.5))
    assert found.within_cosine == pytest.approx(1 - np.sqrt(0.5))
    with pytest.raises(UserError, match="not finite"):
        cloud(np.array([[1.0, np.nan]]))


def model(mixture: str, seed: int = 0, trained: tuple[str, ...] = ()) -> Model:
    return Model(None, mixture, trained, seed)  # type: ignore[arg-type]


def at(*places: tuple[float, float]):
    return [cloud(np.array([place])) for place in places]


def test_distances_are_taken_inside_a_model_and_averaged_over_mixtures_then_seeds():
    a, b = at((1, 0), (0, 1))
    c, d = at((3, 0), (0, 4))
    clouds = [(model("x"), {"ca": a, "es": b}), (model("y"), {"ca": c, "es": d}), (model("x", 1), {"ca": a, "es": a})]
    found = geometry(["ca", "es"], clouds, "common")
    by_seed = np.array([(np.sqrt(2) + 5) / 2, 0.0])
    assert found.euclidean[0, 1] == found.euclidean[1, 0] == pytest.approx(by_seed.mean())
    assert found.euclidean_se[0, 1] == pytest.approx(by_seed.std(ddof=1) / np.sqrt(2))
    assert found.cosine[0, 1] == pytest.approx(0.5)
    assert (found.mixtures, found.seeds) == (2, (0, 1))
    assert found.euclidean[0, 0] == 0


def test_pairs_use_the_model_of_the_two_languages_alone():
    a, b, c = at((1, 0), (0, 1), (5, 5))
    clouds = [(model("ca+es", trained=("ca", "es")), {"ca": a, "es": b, "no": c}), (model("ca"), {"ca": c, "es": a})]
    found = geometry(["ca", "es", "no"], clouds, "pair")
    assert found.euclidean[0, 1] == pytest.approx(np.sqrt(2))
    assert np.isnan(found.euclidean[0, 2])
    assert found.mixtures == 1


def test_rank_test_worked_by_hand_and_exact_for_few_languages():
    distance = np.array([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    found = rank_test("x", distance, -distance)
    assert (found.rho, found.cells, found.orders, found.exact) == (pytest.approx(-1.0), 6, 6, True)
    # The 6 orders of three languages are the 6 orders of their pairs: one gives -1, one +1.
    assert found.p == pytest.approx(2 / 6)
    flat = rank_test("x", distance, np.ones((3, 3)))
    assert (flat.rho, flat.p) == (None, None)
    assert rank_test("x", distance[:2, :2], -distance[:2, :2]).rho is None


def test_languages_without_a_distance_are_left_out_and_holes_of_r_are_no_cells():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(9, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    distance[8, :8] = distance[:8, 8] = np.nan
    r = -distance + rng.normal(0, 0.01, (9, 9))
    r[0, 1:4] = np.nan
    found = rank_test("x", distance, r, permutations=199)
    assert found.cells == 8 * 7 - 3
    assert found.rho is not None
    assert found.rho < -0.95
    assert found.p == pytest.approx(1 / 200)


def test_p_is_uniform_where_distance_and_r_have_nothing_to_do_with_each_other():
    """The matrix has target effects, so its cells are dependent: permuting cells would reject far too often."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(200):
        points = rng.normal(size=(10, 2))
        distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
        r = rng.normal(size=(10, 1)) + 0.3 * rng.normal(size=(10, 10))
        p.append(rank_test("x", distance, r, permutations=199, seed=int(rng.integers(1 << 30))).p)
    assert np.mean(np.array(p) <= 0.05) < 0.10
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.12)


def kept(folder, evaluate_all: bool, seeds: int = 3):
    """A folder whose embeddings lie at planted places: the nearer two languages, the larger r."""
    planted = truth(4, seed=3)
    rng = np.random.default_rng(0)
    place = rng.normal(size=(4, 3))
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    planted.r[:] = 1 - 0.4 * distance
    frame = rows(planted, Folder(seeds=range(seeds)))
    out = folder / "embeddings"
    out.mkdir(parents=True)
    for trial, part in frame.groupby("trial"):
        codes = planted.codes if evaluate_all else tuple(part["language"].unique())
        spin, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # each model has a space of its own
        table = [
            {"language": code, "clip": f"{k}", "speaker": "s",
             "embedding": (place[planted.codes.index(code)] @ spin + e).tolist()}
            for code in codes for k, e in enumerate(np.array([[0.1, 0, 0], [-0.1, 0, 0]]))
        ]  # fmt: skip
        pd.DataFrame(table).to_parquet(out / f"{trial}.parquet")
    return results(folder, planted, Folder(seeds=range(seeds)), frame), distance


@pytest.mark.parametrize("evaluate_all", [True, False])
def test_planted_distances_come_back_through_spaces_of_their_own(tmp_path, evaluate_all):
    folder, distance = kept(tmp_path, evaluate_all)
    found = find([folder])
    assert found.geometry.models == ("common" if evaluate_all else "pair")
    np.testing.assert_allclose(found.geometry.euclidean, distance, atol=1e-6)
    np.testing.assert_allclose(found.geometry.within_euclidean, 0.1, atol=1e-6)
    test = found.tests[0]
    assert (test.distance, test.cells) == ("euclidean", 12)
    assert test.rho == pytest.approx(-1, abs=0.02)  # both directions of a pair are ties but for rounding
    assert test.p is not None
    assert test.p <= 2 / 24


@pytest.mark.slow
def test_the_command_writes_json_tables_figures_and_page(tmp_path, capsys):
    folder, _ = kept(tmp_path, evaluate_all=False)
    (folder / "embeddings" / "stray.parquet").write_bytes((next((folder / "embeddings").iterdir())).read_bytes())
    assert main([str(folder)]) == 0
    assert "1 files of embeddings belong to no finished trial" in capsys.readouterr().out
    out = folder / "geometry"
    document = json.loads((out / "geometry.json").read_text(), parse_constant=pytest.fail)
    assert document["models"] == "pair"
    pairs = pd.read_csv(out / "pairs.csv", keep_default_na=False)
    assert len(pairs) == 12
    assert {"geometry_1col.pdf", "geometry_2col.svg", "geometry_2col.png", "geometry.html", "distance_cosine.csv"} <= {
        path.name for path in out.iterdir()
    }
    assert verify(out) == []
    (out / "pairs.csv").write_text((out / "pairs.csv").read_text().replace("no", "xx", 1))
    assert verify(out)


def test_a_folder_without_embeddings_or_without_common_models_is_a_users_mistake(tmp_path, capsys):
    assert main([str(results(tmp_path / "plain", truth(2)))]) == 2
    assert 'keep = ["embeddings"]' in capsys.readouterr().err
    folder, _ = kept(tmp_path / "kept", evaluate_all=False)
    assert main([str(folder), "--models", "common"]) == 2
    assert "no kept model embeds all languages" in capsys.readouterr().err
    next((folder / "embeddings").iterdir()).write_text("PAR1")
    assert main([str(folder)]) == 2
    assert "cannot read" in capsys.readouterr().err
