"""BLEU and chrF by sacrebleu, word error rate by torchaudio; fractions, as everywhere in the store.

The tokeniser follows the target language: sacrebleu's "zh" for Chinese; characters for languages that write no spaces,
as CoVoST 2 scores Japanese (C. Wang et al., arXiv 2007.10310, section 3.2); otherwise sacrebleu's default "13a".
"""

from collections.abc import Sequence
from functools import cache

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torchaudio.functional import edit_distance

SPACELESS = ("ja", "th", "lo", "km", "my", "bo", "yue", "zh")


def base(language: str) -> str:
    """The language of a code: "zh" of "zh-CN", "cmn_hans_cn" and "cmn"."""
    code = language.replace("_", "-").split("-")[0].lower()
    return {"cmn": "zh"}.get(code, code)


@cache
def bleu(language: str) -> BLEU:
    """BLEU with the language's tokeniser."""
    code = base(language)
    return BLEU(tokenize="zh" if code in ("zh", "yue") else "char" if code in SPACELESS else "13a")


def signature(language: str) -> str:
    """Sacrebleu's signature of the BLEU of texts in a language, as with one reference."""
    metric = bleu(language)
    metric.corpus_score(["a"], [["a"]])
    return str(metric.get_signature())


def bleu_chrf(guesses: Sequence[str], references: Sequence[str], language: str) -> tuple[float, float]:
    """Corpus BLEU and chrF2 as fractions: sacrebleu's numbers over 100."""
    texts, truth = list(guesses), [list(references)]
    return bleu(language).corpus_score(texts, truth).score / 100, CHRF().corpus_score(texts, truth).score / 100


def bleu_counts(guess: str, reference: str, language: str) -> list[int]:
    """What BLEU sums over sentences: lengths of guess and reference, 1- to 4-grams that match, 1- to 4-grams in all."""
    found = bleu(language).corpus_score([guess], [[reference]])
    return [found.sys_len, found.ref_len, *found.counts, *found.totals]


def word_errors(guess: str, reference: str) -> tuple[int, int]:
    """Edits, and words of the reference, in lower case."""
    truth = reference.lower().split()
    return edit_distance(truth, guess.lower().split()), len(truth)


def word_error_rate(guesses: Sequence[str], references: Sequence[str]) -> float:
    """Edits over reference words of the whole corpus; may exceed 1."""
    edits, words = zip(*map(word_errors, guesses, references), strict=True)
    return sum(edits) / max(sum(words), 1)
