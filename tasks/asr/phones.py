"""What a sentence sounds like: its phones, by espeak-ng's rules and dictionaries (grapheme to phoneme).

Phones are what languages of different scripts share. A phone is what espeak-ng takes for one and writes in IPA, one
letter or several: `tʃ`, a long `aː`, a diphthong `aɪ`, in some languages `ts` is one and in others two. Two phones are
the same only if they are written the same.

* Left out: marks of stress, ties (`t͡ʃ` is `tʃ`), tones, word boundaries, and notes that a word is read in another
  language's voice, as loan words are.
* What espeak-ng leaves in the ASCII notation of its tables becomes IPA where we know how, and stays as it is elsewhere.
* The sentence is read as the corpus writes it, since capitals and punctuation tell how to read; numbers are spelt out.

It is a rule book's opinion, not what a speaker said, and better for some languages than for others: letters of a script
that a voice does not know are read by their English names. Japanese kanji are refused for that.

espeak-ng (GPL-3.0) comes with the extra `phones` and is loaded only when called. It has some 130 languages; the error
for another one lists them.
"""

import importlib.util
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from grids.errors import UserError, unknown
from tasks.data import espeak
from tasks.data.cldr import spoken
from tasks.data.clips import Clip

RECIPE = 1  # raise it when what becomes of espeak-ng's phonemes changes
VOICES = {"no": "nb", "zh": "cmn", "zh-hk": "yue"}  # corpora's codes whose voice has another name
LETTERS = str.maketrans({  # of E. Kirshenbaum, "Representing IPA phonetics in ASCII", 2001
    ":": "ː", "[": "\u032a", '"': "\u0308", "^": "ʲ", "S": "ʃ", "Z": "ʒ", "X": "χ",
    "͡": None, "ˈ": None, "ˌ": None, **dict.fromkeys("0123456789"),
})  # fmt: skip
TONAL = ("cmn", "hak", "th", "vi", "yue")  # voices whose third tone espeak-ng writes as "ɜ", its IPA for "3"
_OTHER_VOICE = re.compile(r"\([a-z][a-z0-9-]*\)")
_ASPIRATED = re.compile(r"(?<=[ptkɕʂ])h$")


def phones(sentences: Sequence[str], language: str) -> list[str]:
    """Each sentence's phones, with a space between two.

    A sentence is read once a process. They are best asked for together: to start espeak-ng takes longer than to read.

    Args:
        sentences: as the corpus writes them.
        language: the corpus's code.

    Raises:
        UserError: espeak-ng is not installed, has no such language, or cannot read the script.
    """
    read = _read(voice := voice_of(language))
    if missing := list(dict.fromkeys(sentence for sentence in sentences if sentence not in read)):
        legible = [_legible(sentence, voice) for sentence in missing]
        read |= zip(missing, (_clean(text, voice) for text in espeak.phonemes(legible, voice, "_")), strict=True)
    return [read[sentence] for sentence in sentences]


def phones_of(clips: Sequence[Clip]) -> list[str]:
    """The phones of each clip, those of a clip's parts by their own languages."""
    parts = [part for clip in clips for part in clip.parts]
    for language in sorted({part.language for part in parts}):
        phones([part.sentence for part in parts if part.language == language], language)
    return [" ".join(filter(None, (phones([p.sentence], p.language)[0] for p in clip.parts))) for clip in clips]


@cache
def voice_of(language: str) -> str:
    """espeak-ng's name of a corpus's language: of "es_419", "pt-PT" (pt) and "en@Scottish English" (en).

    Raises:
        UserError: espeak-ng is not installed, or has no such language.
    """
    _require_extra()
    code = language.partition("@")[0].replace("_", "-").lower()
    for name in (code, code.partition("-")[0]):
        if (name := VOICES.get(name, name)) in (known := espeak.languages()) and espeak.speaks(name):
            return name
    raise unknown("language of espeak-ng (alphabet = 'phones')", language, known)


@cache
def reader() -> str:
    """The version of what turns text into phones; part of the configuration's hash.

    Raises:
        UserError: espeak-ng is not installed.
    """
    _require_extra()
    return f"espeak-ng {espeak.version()}, recipe {RECIPE}"


@cache
def _read(voice: str) -> dict[str, str]:
    """What a voice has read so far: sentence -> phones."""
    return {}


def _legible(sentence: str, voice: str) -> str:
    """The sentence as the voice can read it.

    Raises:
        UserError: Japanese with kanji, whose reading depends on the word.
    """
    text = spoken(unicodedata.normalize("NFC", sentence), voice)
    if voice == "ja" and any(unicodedata.name(letter, "").startswith("CJK UNIFIED") for letter in text):
        raise UserError(f"espeak-ng cannot read the kanji of {sentence!r}; allowed with alphabet = 'phones': kana")
    return text


def _clean(read: str, voice: str) -> str:
    """The phones of what espeak-ng writes with "_" between two phonemes."""
    phonemes = _OTHER_VOICE.sub(" ", read).replace("_", " ").translate(LETTERS).split()
    if voice in TONAL:
        phonemes = [phoneme.removesuffix("ɜ") or phoneme for phoneme in phonemes]
    retroflex = (phoneme.replace("ts.", "ʈʂ").replace("s.", "ʂ") for phoneme in phonemes)
    return " ".join(unicodedata.normalize("NFC", _ASPIRATED.sub("ʰ", phoneme)) for phoneme in retroflex)


def _require_extra() -> None:
    """Raises a `UserError` unless espeak-ng is there."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError("alphabet = 'phones' in [options] needs the extra `phones`: pip install 'cltm-engine[phones]'")
