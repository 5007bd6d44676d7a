"""What of a sentence is trained on and scored: one table of rules a language.

NFKC, casefold, then letters, numbers and combining marks stay, and everything else is a space. Combining marks are
letters' vowels in Tamil, Thai, Bangla or Divehi: dropping them destroys the text.

What it does not cover: numbers are not spelt out, and words of scripts without spaces are not segmented.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.asr.phones import phones_of, reader
from tasks.asr.vocabulary import Alphabet
from tasks.data.clips import Clip

RECIPE = 1  # raise it when `clean` changes what it does; the table is hashed as it is
KEPT = "LNM"  # first letters of Unicode categories: letters, numbers, marks
DROPPED = (
    "\u0640\u00ad\u200b\u200c\u200d\u2060\ufeff"  # tatweel, soft hyphen, joiners: they are about looks, not sounds
)


@dataclass(frozen=True)
class Rules:
    """How a language departs from the rest.

    Attributes:
        replace: (what, by what), before casefolding.
        inside: characters that are no letters and stay between two of them.
        spaces: whether words are set apart; if not, spaces are dropped and characters are what is scored.
        capital_nouns: every noun has a capital, so that capitals mark no names.
    """

    replace: tuple[tuple[str, str], ...] = ()
    inside: str = ""
    spaces: bool = True
    capital_nouns: bool = False


_DOTTED = Rules(replace=(("İ", "i"), ("I", "ı")))
_APOSTROPHES = "'’‘ʼʻ`´"
_LETTER = Rules(replace=tuple((mark, "ʼ") for mark in _APOSTROPHES))  # an apostrophe is a letter, or part of one
_INSIDE = Rules(replace=tuple((mark, "'") for mark in _APOSTROPHES), inside="'")  # it belongs to a word, inside it
_NO_SPACES = Rules(spaces=False)
_CAPITALS = Rules(capital_nouns=True)
RULES = {
    **dict.fromkeys(("az", "crh", "gag", "tr"), _DOTTED),
    **dict.fromkeys(("be", "br", "en", "uk"), _INSIDE),
    **dict.fromkeys(("mt", "uz"), _LETTER),
    **dict.fromkeys(("bo", "cmn", "dz", "ja", "jpn", "khm", "km", "lao", "lo", "my", "mya", "th", "tha", "wuu", "yue",
                     "zh"), _NO_SPACES),
    **dict.fromkeys(("de", "lb", "nds"), _CAPITALS),
    "ca": Rules(replace=(("•", "·"), ("‧", "·"), ("⋅", "·")), inside="·"),
}  # fmt: skip


def rules_of(language: str) -> Rules:
    """The rules of a corpus's language code, by its first part: "zh-CN", "cmn_hans_cn" and "en@Scottish English"."""
    return RULES.get(language.partition("@")[0].replace("_", "-").partition("-")[0].lower(), Rules())


def rules_sha(alphabet: Alphabet = "characters") -> str:
    """Stands for everything that `texts_of` depends on; part of the configuration's hash.

    Raises:
        UserError: phones that are not to be had.
    """
    if alphabet == "phones":
        return reader()
    return hashlib.sha256(repr((RECIPE, KEPT, DROPPED, sorted(RULES.items()))).encode()).hexdigest()[:16]


def clean(sentence: str, language: str) -> str:
    """The characters that count: words with one space between them, or without spaces where the script has none.

    Args:
        sentence: as the corpus writes it.
        language: the corpus's code.

    Returns:
        Possibly "".
    """
    rules = rules_of(language)
    text = unicodedata.normalize("NFKC", sentence)
    for what, by in rules.replace:
        text = text.replace(what, by)
    text = "".join(character for character in text.casefold() if character not in DROPPED)
    text = unicodedata.normalize("NFKC", text)
    kept = [c if _kept(text, place, rules) else " " for place, c in enumerate(text)]
    return unicodedata.normalize("NFKC", (" " if rules.spaces else "").join("".join(kept).split()))


def _kept(text: str, place: int, rules: Rules) -> bool:
    """Whether the character at that place stays."""
    if unicodedata.category(text[place])[0] in KEPT:
        return True
    between = 0 < place < len(text) - 1 and text[place - 1].isalpha() and text[place + 1].isalpha()
    return between and text[place] in rules.inside


def has_spaces(language: str) -> bool:
    """Whether the language sets words apart, so that a word error rate has a meaning."""
    return rules_of(language).spaces


def text_of(clip: Clip) -> str:
    """What a clip says, as it is trained on and scored; each part by the rules of its own language."""
    return " ".join(clean(part.sentence, part.language) for part in clip.parts)


def texts_of(clips: Sequence[Clip], alphabet: Alphabet) -> list[str]:
    """What each clip says, in characters (`text_of`) or in phones with a space between two (`tasks.asr.phones`).

    Raises:
        UserError: phones that are not to be had.
    """
    return phones_of(clips) if alphabet == "phones" else [text_of(clip) for clip in clips]
