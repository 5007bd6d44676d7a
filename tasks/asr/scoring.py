"""Word and character error rates of a whole test set, and of the words that matter: numbers, names, unseen words.

Rates are corpus-level: errors over units of the reference, summed over all clips (jiwer). They may exceed 1. Marked
words have a rate of their own ("micro-WER"): the share of them that was substituted or left out; an insertion belongs
to none.

* numbers: a word with a numeral in it (Unicode category N).
* names: a word of the list that `names` in [options] gives; without a list, a word with a capital that is not the first
  of its sentence, in languages that do not write all nouns so.
* unseen: a word that the training text does not have.

Texts of phones (`tasks.asr.phones`) have one rate, that of phones.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jiwer

from grids.errors import UserError
from grids.files import named_file
from tasks.asr.text import clean, has_spaces, rules_of
from tasks.asr.vocabulary import Alphabet
from tasks.base import Metric, Score
from tasks.data.clips import Clip

Unit = Literal["script", "word", "character"]
METRICS = tuple(
    Metric(name, primary=name == "error_rate", higher_is_better=False)
    for name in ("error_rate", "wer", "cer", "per", "substitutions", "deletions", "insertions", "wer_numbers",
                 "wer_names", "wer_unseen", "unknown_share")
)  # fmt: skip
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True)
class Heard:
    """One test clip.

    Attributes:
        clip: the clip.
        reference: its clean text, or its phones.
        hypothesis: what the network wrote.
        lacking: characters, or phones, of the reference that the network cannot write, one by one.
    """

    clip: Clip
    reference: str
    hypothesis: str
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Errors:
    """Errors in words or characters.

    Attributes:
        substitutions, deletions, insertions: how many.
        total: units of the reference.
    """

    substitutions: int
    deletions: int
    insertions: int
    total: int

    @property
    def count(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors a unit of the reference."""
        return self.count / self.total


def errors(references: Sequence[str], hypotheses: Sequence[str], *, words: bool) -> Errors:
    """Errors of a whole corpus, in words (or phones, spaced as words are) or in characters (spaces among them)."""
    process = jiwer.process_words if words else jiwer.process_characters
    found: Any = process(list(references), list(hypotheses))
    total = found.hits + found.substitutions + found.deletions
    return Errors(found.substitutions, found.deletions, found.insertions, total)


def marked_errors(references: Sequence[str], hypotheses: Sequence[str], marks: Sequence[Sequence[bool]], *,
                  words: bool) -> Errors:  # fmt: skip
    """Substitutions and deletions of the units of the references that are marked.

    Args:
        references: texts.
        hypotheses: as many.
        marks: a list of truths a reference, one a unit.
        words: units are words; else characters.
    """
    process = jiwer.process_words if words else jiwer.process_characters
    found: Any = process(list(references), list(hypotheses))
    missed = {"substitute": 0, "delete": 0}
    for chunks, own in zip(found.alignments, marks, strict=True):
        for chunk in chunks:
            if chunk.type in missed:
                missed[chunk.type] += sum(own[chunk.ref_start_idx : chunk.ref_end_idx])
    return Errors(missed["substitute"], missed["delete"], 0, sum(map(sum, marks)))


def scores_of(
    language: str,
    heard: Sequence[Heard],
    unit: Unit,
    names: str,
    words: Set[str],
    condition: str = "",
    alphabet: Alphabet = "characters",
) -> list[Score]:
    """Every metric that a language's test clips give; no word rates where the script sets no words apart.

    Args:
        language: the language's code.
        heard: its clips.
        unit: what `error_rate` counts: words where the script has spaces, else characters ("script"), or as it says.
        names: the file of a list of names; "" for the rule.
        words: those of the training text.
        condition: of the scores.
        alphabet: of references and hypotheses; "phones": `error_rate` counts phones.

    Raises:
        UserError: the references are all empty.
    """
    references, hypotheses = [one.reference for one in heard], [one.hypothesis for one in heard]
    if not any(references):
        raise UserError(f"the {len(heard)} test clips of {language!r} have no text that counts; allowed: some letters")
    if alphabet == "phones":
        main = errors(references, hypotheses, words=True)
        return _scores(language, heard, {"per": main}, main, main.total, condition)
    found = {"cer": errors(references, hypotheses, words=False)}
    if has_spaces(language):
        found["wer"] = errors(references, hypotheses, words=True)
        rules = {"wer_numbers": is_number, "wer_names": name_rule(language, names), "wer_unseen": unseen_rule(words)}
        for name, rule in rules.items():
            marks = [marked(one.clip, rule) for one in heard]
            if any(map(any, marks)):
                found[name] = marked_errors(references, hypotheses, marks, words=True)
    main = found["cer" if unit == "character" or "wer" not in found else "wer"]
    return _scores(language, heard, found, main, found["cer"].total, condition)


def _scores(
    language: str, heard: Sequence[Heard], found: Mapping[str, Errors], main: Errors, symbols: int, condition: str
) -> list[Score]:
    """The rates that were found, and what `main` is made of.

    Args:
        language: the language's code.
        heard: its clips.
        found: metric -> errors.
        main: those that make the matrix.
        symbols: characters, or phones, of the references.
        condition: of the scores.
    """
    values = {"error_rate": main.rate, **{name: one.rate for name, one in found.items()}}
    values |= {name: getattr(main, name) / main.total for name in ("substitutions", "deletions", "insertions")}
    values["unknown_share"] = sum(len(one.lacking) for one in heard) / symbols
    return [BY_NAME[name].score(language, value, len(heard), condition) for name, value in values.items()]


WordRule = Callable[[str, str, int], bool]  # (as written, clean, place in the sentence) -> whether it is marked


def marked(clip: Clip, rule: WordRule) -> list[bool]:
    """Whether each word of the clip's clean text is marked; a written word may be several."""
    written = [(place, word, one.language) for one in clip.parts for place, word in enumerate(one.sentence.split())]
    return [rule(word, part, place) for place, word, language in written for part in clean(word, language).split()]


def is_number(written: str, part: str, place: int) -> bool:
    """Whether there is a numeral in the word."""
    return any(unicodedata.category(character)[0] == "N" for character in part)


def name_rule(language: str, names: str) -> WordRule:
    """Whether a word is a name: by the list, or by its capital; see the module's docstring."""
    if names:
        listed = _listed(names, language)
        return lambda written, part, place: part in listed
    if rules_of(language).capital_nouns:
        return lambda written, part, place: False
    return lambda written, part, place: place > 0 and next(filter(str.isalpha, written), "").isupper()


def unseen_rule(words: Set[str]) -> WordRule:
    """Whether the training text lacks the word."""
    return lambda written, part, place: part not in words


@lru_cache(maxsize=64)
def _listed(names: str, language: str) -> frozenset[str]:
    """The clean words of a list, a name a line."""
    return frozenset(clean(names_file(names).read_text(encoding="utf-8"), language).split())


def names_file(names: str) -> Path:
    """The list that the option names.

    Raises:
        UserError: there is none.
    """
    return named_file("names", names, "a text file, one name a line")
