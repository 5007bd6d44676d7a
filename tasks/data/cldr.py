"""Sentences for the synthetic corpus, out of the names that Unicode's CLDR has of the same things in every language.

A sentence is three names (days, territories, languages: "dilluns armeni Egipte"). It is defined by their keys, so the
same sentence exists in each language and script under one id: a parallel corpus. It is no grammatical text, and teaches
nothing about a language's syntax.

The names come with `babel` (the extra `synthetic`), which is loaded only when called.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np

from tasks.data.clips import Split

# D: a day of the week, L: a language, T: a territory. Of the 353 names that have 2 to 16 characters in each of the
# synthetic languages, no digit and no namesake (babel 2.18), the 150 that fewest languages spell as English does:
# de 9 %, it 28 %, mt 30 %, id 35 %. (Not Gwich'in: espeak-ng spells its apostrophe.) Written down so that a newer CLDR
# does not change the sentences' ids.
KEYS = """
D0 D2 D3 D4 D5 D6 Lab Lace Lale Lam Lan Lar Las Last Lav Lba Lban Lbas Lbho Lbla Lbn Lbo Lbr Lbs Lbug Lca Lce Lchk
Lchr Lco Lcs Lcv Lcy Ldar Len Leu Lfa Lff Lfo Lfur Lgl Lgn Lgu Lgv Lhaw Lhe Lilo Linh Lkab Lkk Lkrl Lks Lksh Lku Lkum
Lkw Lky Lla Llez Lli Lmad Lmak Lmas Lmdf Lmg Lmi Lmic Lmk Lms Lmus Lmwl Lnap Loc Los Lpa Lprg Lps Lrar Lrm Lrup Lsa
Lsah Lsc Lscn Lsco Lsi Lss Lsu Lsw Lswb Lta Ltg Lti Ltk Ltt Lty Ltyv Ludm Lug Luz Lwa Lwo Lxal Lyi TAF TAQ TAT TAU TAZ
TBE TBH TBR TCH TCK TCM TCO TCU TCY TDJ TDZ TEG TES TET TGL TGW TIM TIQ TJO TKG TKH TKR TKZ TLB TLU TLV TLY TMA TMG
TMR TMV TMX TMY TMZ TPH TSG TSS TTD TTJ TTN TYE
""".split()  # noqa: SIM905 (150 quoted names would be no easier to read)
NAMES_A_SENTENCE = 3
# With the default size each sentence is read twice in train and test, and once in dev.
SENTENCES: dict[Split, int] = {"train": 600, "dev": 100, "test": 160}
# espeak-ng reads each kanji as "Chinese letter". These are all that the Japanese names have, longest match first.
_JAPANESE_READINGS = {
    "日曜日": "にちようび", "曜日": "ようび", "月": "げつ", "水": "すい", "木": "もく", "金": "きん", "土": "ど",
    "語": "ご", "英": "えい", "南極": "なんきょく", "南": "みなみ", "諸": "しょ", "島": "とう", "韓国": "かんこく",
}  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """What a clip says.

    Attributes:
        sentence_id: 64 hexadecimal digits, a function of the names' keys and so the same in all languages.
        text: as the language writes it.
        spoken: the text as espeak-ng can read it.
    """

    sentence_id: str
    text: str
    spoken: str


def sentences(language: str) -> dict[Split, list[Sentence]]:
    """All sentences of a language, disjoint between splits, in an order that is the same for all languages.

    Args:
        language: a code that CLDR has.
    """
    names = _names(language)
    written = (_sentence(language, keys, names) for keys in _sentence_keys())
    return {split: list(islice(written, count)) for split, count in SENTENCES.items()}


@cache
def _sentence_keys() -> tuple[tuple[str, ...], ...]:
    """The keys of every sentence, all different, those of the first split first."""
    generator = np.random.default_rng(0)
    drawn: dict[tuple[str, ...], None] = {}
    while len(drawn) < sum(SENTENCES.values()):
        drawn[tuple(str(key) for key in generator.choice(KEYS, NAMES_A_SENTENCE, replace=False))] = None
    return tuple(drawn)


def _sentence(language: str, keys: tuple[str, ...], names: dict[str, str]) -> Sentence:
    """The sentence of these keys in a language with these names."""
    text = " ".join(names[key] for key in keys)
    return Sentence(hashlib.sha256(" ".join(keys).encode()).hexdigest(), text, spoken(text, language))


def spoken(text: str, language: str) -> str:
    """A sentence as espeak-ng can read it."""
    for kanji, kana in _JAPANESE_READINGS.items() if language == "ja" else ():
        text = text.replace(kanji, kana)
    return text


def _names(language: str) -> dict[str, str]:
    """What the language calls each of `KEYS`."""
    from babel import Locale

    locale = Locale.parse(language)
    # babel's "stand-alone" names of ko and cy are those of other languages.
    names = {f"D{day}": name for day, name in locale.days["format"]["wide"].items()}
    names |= {f"L{code}": name for code, name in locale.languages.items()}
    names |= {f"T{code}": name for code, name in locale.territories.items()}
    return {key: names[key] for key in KEYS}
