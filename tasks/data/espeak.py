"""Text to speech through libespeak-ng, with the same samples each time.

`speak` loads the library, says one text and unloads it again: espeak-ng keeps state from one text to the next, so that
a clip would depend on those before it. A process holds one such library, so use processes and never threads. It does
not cover SSML, or voices other than espeak-ng's own formant voices.

The library comes with `espeakng-loader` (the extra `synthetic`; espeak-ng is GPL-3.0) and is loaded only when called.
"""

import _ctypes
import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.clips import GENDERS

RATE_HZ = 22_050

# Alicia, Demonic, f2, f3, f5, sandro, victor, whisper and whisperf are left out: they differ from one time to the next.
_FEMALE = (
    "f1", "f4", "Annie", "aunty", "belinda", "grandma", "linda", "shelby", "steph", "Andrea",
)  # fmt: skip
_MALE = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m8", "Andy", "Denis", "Hugo", "Lee", "Mike", "Reed", "adam", "boris",
    "edward", "grandpa", "klatt4", "max", "pablo", "paul", "quincy", "robert", "travis",
)  # fmt: skip
VARIANTS = dict(zip(GENDERS, (_FEMALE, _MALE), strict=True))

# Source of these numbers and of the signatures: espeak-ng 1.52, src/include/espeak-ng/speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT, _POSITION_IS_CHARACTER, _UTF8 = 2, 0x8000, 1, 1
_WORDS_PER_MINUTE, _VOLUME, _PITCH, _PITCH_RANGE = 1, 2, 3, 4
_IPA, _SEPARATOR_BITS = 2, 8  # of the phoneme mode: what to write, and where the separator is
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """How espeak-ng speaks.

    Attributes:
        language: espeak-ng's name of the language, e.g. "ca", "cmn".
        variant: one of `VARIANTS`.
        pitch: 0 to 100.
        pitch_range: 0 (monotone) to 100.
        words_per_minute: 80 to 450.
    """

    language: str
    variant: str
    pitch: int
    pitch_range: int
    words_per_minute: int


def speak(text: str, voice: Voice) -> NDArray[np.int16]:
    """Says the text.

    Args:
        text: what to say, in the voice's language.
        voice: how.

    Returns:
        (T,) int16, mono, `RATE_HZ`.

    Raises:
        RuntimeError: espeak-ng does not have the voice, or refuses the text.
    """
    parts: list[bytes] = []

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count > 0:
            parts.append(ctypes.string_at(samples, count * 2))
        return 0

    callback = _Callback(collect)  # espeak-ng holds no reference to it, so we must until the text is spoken
    encoded = text.encode() + b"\0"
    with _fresh_library() as library:
        library.espeak_SetSynthCallback(callback)
        _set_voice(library, voice)
        _check(
            library.espeak_Synth(encoded, len(encoded), 0, _POSITION_IS_CHARACTER, 0, _UTF8, None, None),
            f"espeak-ng cannot say {text!r}",
        )
        _check(library.espeak_Synchronize(), f"espeak-ng did not finish {text!r}")
    return np.frombuffer(b"".join(parts), dtype=np.int16)


def phonemes(texts: Sequence[str], language: str, separator: str = "") -> list[str]:
    """What espeak-ng would say, in IPA; the clauses of a text with a space between them.

    Args:
        texts: what to read.
        language: espeak-ng's name of the language.
        separator: a character that is put between the phonemes of a word, and may be at its ends.

    Raises:
        RuntimeError: espeak-ng has no such language.
    """
    with _fresh_library() as library:
        _check(library.espeak_SetVoiceByName(language.encode()), f"espeak-ng has no voice {language!r}")
        mode = _IPA | ord(separator or "\0") << _SEPARATOR_BITS
        return [" ".join(_clauses(library, text, mode)) for text in texts]


def languages() -> frozenset[str]:
    """The languages that espeak-ng has voices of, by its own names, e.g. "ca", "cmn", "en-gb"."""
    with _fresh_library() as library:
        voices, found = library.espeak_ListVoices(None), set[str]()
        for voice in takewhile(bool, (voices[number] for number in count())):
            place = voice.contents.languages
            while ctypes.string_at(place, 1) != b"\0":  # a priority, the name, its end, and so on
                name = ctypes.string_at(place + 1)
                found.add(name.decode())
                place += len(name) + 2
        return frozenset(found)


def speaks(language: str) -> bool:
    """Whether espeak-ng takes one of its `languages`; some it lists and does not take."""
    with _fresh_library() as library:
        return bool(library.espeak_SetVoiceByName(language.encode()) == 0)


def version() -> str:
    """espeak-ng's own."""
    with _fresh_library() as library:
        return str(library.espeak_Info(None).decode())


class _VoiceEntry(ctypes.Structure):
    """The first fields of `espeak_VOICE`."""

    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_void_p)]


def _clauses(library: ctypes.CDLL, text: str, mode: int) -> Iterator[str]:
    """The phonemes of each clause of a text; the library moves the pointer on, to null at the end."""
    place = ctypes.c_char_p(text.encode())
    while place.value:
        yield library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, mode).decode().strip()


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library as it is just after its start, and the C library's random numbers too, which some variants use."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        _declare(library)
        parent_of_data = os.fsencode(Path(espeakng_loader.get_data_path()).parent)
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, parent_of_data, _DONT_EXIT)
        _check(0 if rate_hz == RATE_HZ else rate_hz, "espeak-ng does not start")
        ctypes.CDLL(None).srand(1)
        yield library
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


def _declare(library: ctypes.CDLL) -> None:
    """Tells ctypes the arguments of the functions used, without which pointers would be cut to 32 bits."""
    integer, unsigned, pointer, text = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p
    library.espeak_Initialize.argtypes = [integer, integer, text, integer]
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetVoiceByName.argtypes = [text]
    library.espeak_SetParameter.argtypes = [integer, integer, integer]
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(text), integer, integer]
    library.espeak_TextToPhonemes.restype = text
    library.espeak_ListVoices.argtypes = [pointer]
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceEntry))
    library.espeak_Info.argtypes = [pointer]
    library.espeak_Info.restype = text
    library.espeak_Synth.argtypes = [
        pointer, ctypes.c_size_t, unsigned, integer, unsigned, unsigned, pointer, pointer,
    ]  # fmt: skip


def _set_voice(library: ctypes.CDLL, voice: Voice) -> None:
    """Makes everything said from here on sound like `voice`."""
    name = f"{voice.language}+{voice.variant}"
    _check(library.espeak_SetVoiceByName(name.encode()), f"espeak-ng has no voice {name!r}")
    settings = (
        (_WORDS_PER_MINUTE, voice.words_per_minute),
        (_VOLUME, 100),
        (_PITCH, voice.pitch),
        (_PITCH_RANGE, voice.pitch_range),
    )
    for parameter, value in settings:
        _check(library.espeak_SetParameter(parameter, value, 0), f"espeak-ng refuses parameter {parameter} = {value}")


def _check(status: int, message: str) -> None:
    """Raises unless the status is 0, which is espeak-ng's "well done"."""
    if status != 0:
        raise RuntimeError(f"{message} (status {status})")
