"""Mixtures and trials as values."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grids.errors import UserError
from grids.mixture import Mixture, Trial

HOSTILE = ["no", "zh-CN", "fy-NL", "cmn_hans_cn", "en@Scottish English", "ga/../IE", "日本"]


def test_double_block_equals_a_single_block_of_twice_the_size() -> None:
    assert Mixture.parse("ca+ca", 60) == Mixture.parse("ca", 120) == Mixture.of({"ca": 120})


def test_order_of_languages_does_not_matter_but_order_of_stages_does() -> None:
    assert Mixture.parse("es+ca", 60) == Mixture.parse("ca+es", 60)
    assert Mixture.parse("es>ca", 60) != Mixture.parse("ca>es", 60)


@pytest.mark.parametrize("text", ["ca", "ca+ca", "ca+es", "ca+0.1*en", "en>ca", "en@Scottish English>ca+es", ""])
def test_text_comes_back(text: str) -> None:
    assert Mixture.parse(text, 60).text(60) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [("ca+", "empty part"), ("x*ca", "no number"), ("0.01*ca", "no whole number"), ("-1*ca", "no whole number")],
)
def test_broken_mixtures_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Mixture.parse(text, 60)


@pytest.mark.parametrize(
    ("text", "language", "role"),
    [
        ("ca", "ca", ("base", "")),
        ("ca+ca", "ca", ("self", "ca")),
        ("ca+es", "ca", ("cross", "es")),
        ("ca+es", "es", ("cross", "ca")),
        ("es", "ca", ("zero", "es")),
        ("es+es", "ca", ("zero", "es")),
        ("es+tr", "ca", ("third", "es+tr")),
        ("", "ca", ("untouched", "")),
        ("ca+0.5*es", "ca", ("other", "")),
        ("es>ca", "ca", ("other", "")),
        ("ca+ca+ca", "ca", ("other", "")),
    ],
)
def test_roles(text: str, language: str, role: tuple[str, str]) -> None:
    assert Mixture.parse(text, 60).role(language, 60) == role


@given(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE), st.integers(1, 9), st.integers(0, 99))
def test_slugs_are_safe_and_different_trials_have_different_ones(one: str, other: str, size: int, seed: int) -> None:
    trial = Trial(Mixture.of({one: size}), seed)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}", trial.slug)
    assert Trial.from_dict(trial.as_dict()) == trial
    different = [Trial(Mixture.of({one: size}), seed + 1), Trial(Mixture.of({one: size + 1}), seed)]
    different += [Trial(Mixture.of({one: size}, {other: size}), seed)]
    assert len({t.slug for t in [trial, *different]}) == 4


def test_long_mixtures_have_short_names() -> None:
    assert len(Trial(Mixture.of({f"lang{n}": 60 for n in range(100)}), 0).slug) < 110
