"""The table of planted mistakes fits the package as it is."""

import ast

from tests.helpers.syntax import syntax_tree
from tests.mutants import MUTANTS, ROOT, selections


def changed_statements(path, mutant):
    """Return the text of the statements that a mutant changes, at the top level of a module."""
    head, _, _ = path.read_text("utf-8").partition(mutant.text)
    first = head.count("\n") + 1
    last = first + mutant.text.count("\n")
    changed = [node for node in syntax_tree(path).body if first <= node.end_lineno]
    changed = [node for node in changed if begin_of(node) <= last]
    lines = path.read_text("utf-8").splitlines(keepends=True)
    text = "".join(lines[begin_of(changed[0]) - 1 : changed[-1].end_lineno])
    assert mutant.text in text, mutant.name
    return text.replace(mutant.text, mutant.replacement)


def begin_of(statement):
    """Return the line on which a statement begins, with its decorators."""
    marks = getattr(statement, "decorator_list", ())
    return min(node.lineno for node in (*marks, statement))


def test_every_mutant_can_be_planted_and_its_tests_exist():
    wrong = []
    for mutant in MUTANTS:
        try:
            path = mutant.file()
        except ValueError as error:
            wrong.append(str(error))
            continue
        try:
            if path.suffix == ".py":
                ast.parse(changed_statements(path, mutant))
        except SyntaxError as error:
            wrong.append(f"{mutant.name}: {error}")
        files = [word for part in selections(mutant.tests) for word in part if "/" in word]
        wrong += [f"{mutant.name}: no {file}" for file in files if not (ROOT / file).exists()]
    assert not wrong, "\n".join(wrong)


def test_there_are_sixty_of_distinct_names():
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len({*names}) >= 60
