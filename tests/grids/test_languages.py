"""The language table: its codes, its form, and what becomes of a code that it lacks."""

import re
import tomllib
from dataclasses import asdict

import pytest

from grids.errors import UserError
from grids.languages import Language, language, read_rows, table

# The languages of the published gender, verification and recognition matrices.
PUBLISHED = (
    "kab ar mt id eo ta hy-AM lt lv cy nl en de sv-SE fy-NL bn dv ur ckb kmr fa ca fr gl it pt ro es be cs pl ru sl uk "
    "ja ka th eu mn lg rw sw ab yue zh-CN zh-HK zh-TW ky tr ug uz hu mhr et"
)
SYNTHETIC = (
    "ar be bn ca cs cy de el en eo es et eu fa fi fr hi hu hy id it ja ka ko ky lt lv mt nl pl pt ro ru sv sw ta tr uk "
    "ur uz vi zh"
)
OTHER = "no ga-IE rm-sursilv rm-vallader ne-NP pa-IN nn-NO nb-NO nan-tw tok zgh zza"


@pytest.mark.parametrize("code", sorted({*PUBLISHED.split(), *SYNTHETIC.split(), *OTHER.split()}))
def test_row_is_there_with_family_genus_script_and_iso(code: str):
    row = language(code)
    missing = [name for name, value in asdict(row).items() if not value and name != "glottocode"]
    assert row.code == code
    assert missing == []


def test_codes_have_the_form_of_their_standards():
    forms = {"script": r"[A-Z][a-z]{3}", "iso639_3": r"[a-z]{3}", "glottocode": r"[a-z0-9]{4}[0-9]{4}"}
    for row in table().values():
        for field, form in forms.items():
            value = getattr(row, field)
            assert not value or re.fullmatch(form, value), (row.code, field, value)


def test_codes_of_one_glottocode_are_of_one_family_and_genus():
    seen: dict[str, Language] = {}
    for row in table().values():
        if row.glottocode:
            first = seen.setdefault(row.glottocode, row)
            assert (row.family, row.genus, row.iso639_3) == (first.family, first.genus, first.iso639_3)


def test_a_genus_is_in_one_family_and_no_family_is_written_in_two_ways():
    families: dict[str, set[str]] = {}
    for row in table().values():
        families.setdefault(row.genus, set()).add(row.family)
    assert [genus for genus, found in families.items() if len(found) > 1] == []
    names = {row.family for row in table().values()}
    assert len({name.casefold() for name in names}) == len(names)


def test_slips_of_the_published_labels_are_corrected():
    assert language("lt").name == "Lithuanian"
    assert language("ltg").name == "Latgalian"
    assert {language(code).family for code in ("zh-CN", "zh-HK", "zh-TW", "yue", "nan-tw")} == {"Sino-Tibetan"}
    assert (language("hy-AM").family, language("hy-AM").genus) == ("Indo-European", "Armenian")
    assert (language("fi").genus, language("hu").genus) == ("Finnic", "Ugric")


def test_an_isolate_is_a_family_of_its_own():
    assert language("eu").family == "Language isolate: Basque"
    assert [row.code for row in table().values() if row.family == language("eu").family] == ["eu"]


def test_a_code_that_the_table_lacks_still_has_a_name():
    assert language("cmn_hans_cn") == Language("cmn_hans_cn", name="cmn_hans_cn")
    assert language("xx@Northern") == Language("xx@Northern", name="xx@Northern")


def test_an_accent_is_its_language_under_its_own_name():
    accent, english = language("en@Scottish English"), language("en")
    assert (accent.code, accent.name) == ("en@Scottish English", "English (Scottish English)")
    assert (accent.family, accent.genus, accent.glottocode) == (english.family, english.genus, english.glottocode)


def test_the_table_is_read_once_and_cannot_be_changed():
    assert table() is table()
    with pytest.raises(TypeError):
        table()["ca"] = Language("ca", "Other")  # type: ignore[index]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('ca = { name = "Catalan", familly = "Indo-European" }', "familly.*ca.*did you mean 'family'"),
        ('ca = { family = "Indo-European" }', "'name' is missing.*ca"),
        ('ca = { name = "Catalan", script = 4 }', "script.*ca.*4.*expected a string"),
    ],
)
def test_a_wrong_row_is_refused_by_name(row: str, message: str):
    with pytest.raises(UserError, match=message):
        read_rows(tomllib.loads(row))
