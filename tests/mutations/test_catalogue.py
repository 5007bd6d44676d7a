"""The list of mutations is one: every old text is there once, every new one is code, every test exists."""

import ast
import re

import pytest

from tests.mutations import of_tasks
from tests.mutations.__main__ import chosen
from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import ROOT, Mutation, Verdict, attempt, failing_unbroken

pytestmark = pytest.mark.slow


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTATIONS) >= 30
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)
    assert chosen(["2", MUTATIONS[0].name]) == [(2, MUTATIONS[1]), (1, MUTATIONS[0])]


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.name)
def test_a_mutation_can_be_made_and_its_tests_are_there(one: Mutation) -> None:
    mutated = one.applied(ROOT)
    assert mutated is not None, "its old text is not found exactly once"
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse((ROOT / one.path).read_text(encoding="utf-8")))
    for test in one.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists()
        assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_verdicts_say_what_became_of_a_mutation() -> None:
    caught = of_tasks.MUTATIONS[0]
    harmless = Mutation("none", caught.path, "SLUG_LENGTH = 80", "SLUG_LENGTH = 79", "nothing", caught.tests)
    gone = Mutation("none", caught.path, "import", "", "nothing", caught.tests)
    no_test = Mutation("none", caught.path, harmless.old, harmless.new, "nothing", (caught.tests[0] + "::test_none",))
    assert failing_unbroken([caught]) == ""
    found = [attempt(one).verdict for one in (caught, harmless, gone, no_test)]
    assert found == [Verdict.CAUGHT, Verdict.SURVIVED, Verdict.GONE, Verdict.UNTESTED]
    assert "test_none" in failing_unbroken([no_test])
