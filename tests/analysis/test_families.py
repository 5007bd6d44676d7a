"""Family labels, and the groups they make."""

from pathlib import Path

import pytest

from analysis.families import families_of, groups, label
from grids.errors import UserError

FAMILIES = Path(__file__).parents[1] / "data" / "families.csv"


def test_the_label_names_the_genus_where_it_is_known():
    assert label("Indo-European", "Romance") == "Indo-European (Romance)"
    assert label("Japonic", "") == "Japonic"
    assert label("Turkic", "Turkic") == "Turkic"
    assert label("Language isolate: Basque", "Basque") == "Language isolate: Basque"
    assert label("", "") == label("", "Romance") == ""


def test_a_file_is_the_only_source_and_leaves_others_unknown():
    assert families_of(("ca", "tr", "nowhere"), FAMILIES) == ("Indo-European (Romance)", "Turkic", "")


def test_the_language_table_gives_labels_as_the_published_ones():
    assert families_of(("ca", "nowhere")) == ("Indo-European (Romance)", "")


def test_every_unknown_family_is_a_group_of_its_own():
    assert groups(("x", "", "y", "", "x")) == (0, 1, 2, 3, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code,genus\nca,Romance\n", "columns are code, genus; needed: code, family"),
        ("code,family\n", "has no row"),
        ("code,family\nca,x\nca,y\n", "'ca' has two families"),
    ],
)
def test_a_families_file_that_says_nothing_or_two_things_is_refused(tmp_path, text, message):
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        families_of(("ca",), path)
    with pytest.raises(UserError, match="cannot read families file"):
        families_of(("ca",), tmp_path / "none.csv")
