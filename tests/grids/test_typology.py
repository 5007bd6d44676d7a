"""Points and phones: the table is sound, distances agree with known ones, gaps stay gaps."""

import pytest

from grids import languages
from grids.errors import UserError
from grids.typology import Typology, great_circle_km, jaccard, table, typology


def test_every_row_belongs_to_a_language_of_the_table():
    assert set(table()) <= set(languages.table())
    assert len(table()) > 80
    assert sum(bool(row.phones) for row in table().values()) > 25


def test_phones_are_plausible_inventories():
    for code, row in table().items():
        if row.phones:
            assert 15 <= len(row.inventory) <= 60, code
            assert {"m", "n", "s"} <= row.inventory, code
            assert not any("ː" in phone or "g" in phone for phone in row.inventory), code  # no length; IPA's own g


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [("es", "pt", 250, 700), ("fi", "et", 100, 400), ("ja", "pt", 9000, 12000), ("zh-HK", "yue", 0, 250),
     ("de", "nl", 200, 600), ("sw", "rw", 500, 1500)],
)  # fmt: skip
def test_distances_are_as_on_a_globe(one, other, low, high):
    assert low <= great_circle_km(typology(one), typology(other)) <= high


def test_great_circle_by_hand():
    quarter = 6371.0088 * 3.141592653589793 / 2
    pole, gulf, antipode = Typology(90, 0), Typology(0, 0), Typology(0, 180)
    assert great_circle_km(pole, gulf) == pytest.approx(quarter)
    assert great_circle_km(gulf, antipode) == pytest.approx(2 * quarter)
    assert great_circle_km(Typology(10, 179), Typology(10, -179)) < 250


def test_jaccard_by_hand_and_related_languages_are_nearer():
    assert jaccard(Typology(phones="p t k a"), Typology(phones="p t a i u")) == pytest.approx(1 - 3 / 6)
    assert jaccard(typology("ca"), typology("gl")) < jaccard(typology("ca"), typology("zh-CN"))
    assert jaccard(typology("zh-HK"), typology("yue")) == 0


def test_what_is_unknown_stays_unknown():
    assert typology("xx") == Typology()
    assert great_circle_km(typology("eo"), typology("es")) is None
    assert jaccard(typology("kab"), typology("es")) is None
    assert typology("en@Scottish English") == typology("en")


@pytest.mark.parametrize("wrong", [{"latitude": 10.0}, {"latitude": 91.0, "longitude": 0.0}, {"phones": "p t p"}])
def test_mistakes_in_a_row_are_refused(wrong):
    with pytest.raises(UserError):
        Typology(**wrong)
