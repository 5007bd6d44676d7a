"""What the report warns of: only what is true of this very source."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.analyse import analyse, analyse_source
from analysis.matrix import from_scores
from analysis.scores import Plan, Provenance, Scores, Source
from analysis.sources import read_source
from tests.analysis.factories import Folder, results, truth


def scores_of(ratio, seeds, rng, n=12, low=-2.0, high=-1.0):
    """Scores whose true self-gain is so many of its standard errors, and their r."""
    sd, codes = np.sqrt(seeds / 2) / ratio, tuple(f"l{i}" for i in range(n))
    base, own = rng.normal(0, sd, (n, seeds)), rng.normal(1, sd, (n, seeds))
    r = rng.uniform(low, high, (n, n))
    cross = r[..., None] + rng.normal(0, sd, (n, n, seeds))
    cross[np.arange(n), np.arange(n)] = np.nan
    return Scores(codes, tuple(range(seeds)), "f1", False, base, own, cross), r


def notes_of(scores, provenance=None):
    provenance = provenance or Provenance(source="x", file="x", sha256="")
    return " ".join(analyse_source(Source(scores, Plan(name="x", matrix=False), provenance)).notes)


@pytest.mark.parametrize(("ratio", "seeds", "said"), [(5, 3, True), (300, 3, False), (5, 4, False)])
def test_weak_self_gains_with_three_seeds_are_told(ratio, seeds, said):
    scores, _ = scores_of(ratio, seeds, np.random.default_rng(1))
    assert ("simulated, such intervals cover" in notes_of(scores)) == said


@pytest.mark.parametrize(("ratio", "low", "high"), [(2, 0.85, 0.91), (4, 0.91, 0.945)])
def test_the_coverage_that_the_note_names_is_what_a_simulation_gives(ratio, low, high):
    rng, inside = np.random.default_rng(0), []
    for _ in range(300):
        scores, r = scores_of(ratio, 3, rng)
        cltm = from_scores(scores, [""] * 12)
        defined = (cltm.status == "defined") & cltm.off_diagonal
        inside += ((cltm.lower <= r) & (r <= cltm.upper))[defined].tolist()
    assert low <= np.mean(inside) <= high


def test_noise_of_small_test_sets_is_said_to_stand_beside_where_it_was_computed(tmp_path, monkeypatch):
    source = read_source([results(tmp_path, truth(4), Folder(noise=0.01, n_test=50))])
    (note,) = [one for one in analyse_source(source).notes if "smallest test set" in one]
    assert note == "The smallest test set has 50 items; its own noise is not in the intervals over seeds."
    noise = type("Noise", (), {"speakers": np.array([3, 3, 0, 3])})()
    monkeypatch.setattr("analysis.analyse.item_noise", lambda source: noise)
    (note,) = [one for one in analyse_source(source).notes if "smallest test set" in one]
    assert note.endswith("over seeds, but beside them, from the predictions kept of 3 of 4 languages.")


def test_a_large_test_set_is_not_warned_of(tmp_path):
    notes = analyse(results(tmp_path, truth(4), replace(Folder(noise=0.01), n_test=5000))).notes
    assert not any("test set" in one for one in notes)
