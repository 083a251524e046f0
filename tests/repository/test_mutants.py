"""The table of planted mistakes fits the package as it is."""

import ast

from tests.mutants import MUTANTS, ROOT, selections


def test_every_mutant_can_be_planted_and_its_tests_exist():
    wrong = []
    for mutant in MUTANTS:
        try:
            text = mutant.file().read_text("utf-8")
        except ValueError as error:
            wrong.append(str(error))
            continue
        try:
            if mutant.file().suffix == ".py":
                ast.parse(text.replace(mutant.text, mutant.replacement))
        except SyntaxError as error:
            wrong.append(f"{mutant.name}: {error}")
        files = [word for part in selections(mutant.tests) for word in part if "/" in word]
        wrong += [f"{mutant.name}: no {file}" for file in files if not (ROOT / file).exists()]
    assert not wrong, "\n".join(wrong)


def test_there_are_sixty_of_distinct_names():
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len({*names}) >= 60
