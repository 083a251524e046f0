"""Names say what they hold and do: no empty words, no participles alone, docstrings with a verb.

The lists are a floor. Another empty word is noticed by whoever reads.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import staticgrad as sg
from staticgrad.exports import FUNCTIONS, LAYERS, OTHERS
from tests.helpers.syntax import nodes_of, syntax_tree

ROOT = Path(__file__).parents[2]
PACKAGES = ("staticgrad", "passes", "tests", "benchmarks")
#: Words that say nothing about what a variable holds.
EMPTY = {
    "found", "made", "given", "told", "kept", "several", "each", "known", "own", "rest", "there",
    "here", "whole", "before", "behind", "after", "other", "one", "two", "both", "wanted", "held",
    "met", "taken", "placed", "moved", "said", "heard", "mine", "lies",
}  # fmt: skip
PARTICIPLE = re.compile(r"_*[a-z]+(ed|en|own|ade|ound|ept|old|iven|tood|ut)")
#: Names of functions and methods that end as participles do, with the reason.
PARTICIPLES = {
    "accept": "a verb",
    "dropout": "a noun",
    "factorized": "SciPy's name",
    "fold": "PyTorch's name",
    "hold": "a verb",
    "layout": "a noun",
    "markdown": "a noun",
    "open": "a verb",
    "sampled": "a method that users type",
    "signed": "an adjective of integers",
    "stacked": "the name of sg.nn.stacked",
    "threshold": "a noun",
    "unflatten": "a verb",
    "unfold": "PyTorch's name",
    "unsigned": "an adjective of integers",
}
#: Words with which no docstring begins.
QUESTION = re.compile(r"(What|Whether|How|Which|Where|Who|Of|As) ")
#: Words that are no names of classes, which are nouns.
NO_NOUNS = {
    "Through", "Why", "Where", "What", "Which", "How", "When", "Each", "Both", "Here", "There",
    "Apart", "Alone", "Before", "After", "Behind", "Within", "Beside", "Along",
}  # fmt: skip
_TYPED = "an attribute that users type"
#: "path name" of names that stay although they say little, with the reason. Nobody has to type
#: another name for what these files offer.
EXCEPTIONS = {
    "staticgrad/analysis/pass_report.py before": _TYPED,
    "staticgrad/analysis/pass_report.py after": _TYPED,
    "staticgrad/analysis/pass_report.py changed": _TYPED,
    "staticgrad/backends.py compiled": "a function of sg.backends",
    "staticgrad/compiler/compiling/compiler.py before": "a keyword of explain",
    "staticgrad/eager/watching.py held": _TYPED,
    "staticgrad/language/calls/spellings.py other": "PyTorch's keyword",
    "staticgrad/functions/windows.py after": "the pair of before",
    "staticgrad/functions/windows.py before": "as the attribute of convolutions",
    "staticgrad/language/ir/forms.py before": "as the attribute of convolutions",
    "staticgrad/language/ops/convolution.py before": "an attribute in the text of graphs",
    "staticgrad/language/ops/selection.py Where": "NumPy's name",
    "staticgrad/nn/module.py children": "PyTorch's name",
    "staticgrad/language/ops/windows.py before": "an attribute in the text of graphs",
    "staticgrad/stats/compound.py truncated": "a function of sg.stats",
    "staticgrad/support/deprecations.py deprecated": "the name in Python's warnings",
    "staticgrad/tools/commands/cli.py before": "the option --before",
    "staticgrad/comparison/mistakes.py found": "a key of its JSON",
    "staticgrad/comparison/report.py held": _TYPED,
    "staticgrad/comparison/report.py kept": "a key of its JSON",
    "staticgrad/comparison/ways.py compiled": "an adjective: the compiled graph",
    "staticgrad/testing/gradients.py found": "a keyword of assert_same_graph",
    "benchmarks/compiler/paths.py without": "reads as a sentence: with without(path)",
    "benchmarks/harness/schema.py before": "a key of its JSON",
    "benchmarks/harness/schema.py kept": "a key of its JSON",
    **dict.fromkeys(
        (
            "tests/compiler/test_debug.py chosen",
            "tests/compiler/test_debug.py scanned",
            "tests/laws/optimizers.py counted",
            "tests/linalg/test_large_factors.py permuted",
            "tests/linalg/test_large_factors.py scaled",
            "tests/linalg/test_large_factors.py shifted",
            "tests/linalg/test_portable.py graded",
            "tests/support/test_records.py derived",
            "tests/support/test_records.py frozen",
            "tests/support/test_records.py slotted",
        ),
        "an adjective in the ids of cases",
    ),
    "tests/loops/random_loops.py reversed": "a word of the programs' text",
    **dict.fromkeys(
        (
            f"tests/support/test_deprecations.py {name}"
            for name in ("batched", "computed", "moved", "put", "traced", "unrounded")
        ),
        "an old name that still works",
    ),
}


@cache
def modules():
    """(Path, syntax tree) of each module of the packages."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [(path.relative_to(ROOT).as_posix(), syntax_tree(path)) for path in paths]


@cache
def public_names():
    """Names that users type: of the tables, and of attributes of public classes."""
    names = {name for table in (FUNCTIONS, LAYERS, OTHERS) for name in table}
    for name in dir(sg):
        value = getattr(sg, name)
        names |= {name, *dir(value)} if isinstance(value, type) else {name}
    return names


def stored_names(tree):
    """Yield (name, line) of each variable, parameter and attribute that a module stores."""
    operators = {
        id(argument)
        for node in definitions(tree, ast.FunctionDef)
        if node.name.startswith("__") or node.name in public_names()
        for argument in node.args.args
        if argument.arg == "other"  # Python's own name for it, and PyTorch's keyword
    }
    for node in nodes_of(tree):
        if id(node) in operators:
            continue
        if isinstance(node, ast.Assign) and is_deprecation(node.value):
            operators.add(id(node.targets[0]))
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def is_deprecation(value):
    """Return whether a value declares an old name (``support/deprecations.py``)."""
    function = value.func if isinstance(value, ast.Call) else None
    return isinstance(function, ast.Name) and function.id == "deprecated_attribute"


def definitions(tree, kinds):
    return (node for node in nodes_of(tree) if isinstance(node, kinds))


def empty_names(path, tree):
    return [
        f"{path}:{line} {name}" for name, line in stored_names(tree) if name.strip("_") in EMPTY
    ]


def participles(path, tree):
    return [
        f"{path}:{node.lineno} {node.name}"
        for node in definitions(tree, ast.FunctionDef)
        if PARTICIPLE.fullmatch(node.name)
        and node.name not in PARTICIPLES
        and node.name not in public_names()
    ]


def questions(path, tree):
    kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
    texts = ((node, ast.get_docstring(node, clean=False)) for node in definitions(tree, kinds))
    return [
        f"{path}:{getattr(node, 'lineno', 1)} {text.strip()[:40]}"
        for node, text in texts
        if QUESTION.match((text or "").lstrip())
    ]


def no_nouns(path, tree):
    return [
        f"{path}:{node.lineno} {node.name}"
        for node in definitions(tree, ast.ClassDef)
        if node.name.strip("_") in NO_NOUNS
    ]


def refused_names(path, tree, check):
    """Return the places that a rule refuses, without exceptions."""
    return [place for place in check(path, tree) if without_line(place) not in EXCEPTIONS]


def without_line(place):
    return re.sub(r":[0-9]+ ", " ", place)


RULES = {
    "a variable says what it holds": empty_names,
    "a function is named by a verb and its object": participles,
    "a docstring begins with a verb or the noun that it defines": questions,
    "a class is named by a noun": no_nouns,
}


@pytest.mark.parametrize("rule", RULES)
def test_names_say_what_they_hold_and_do(rule):
    refused = [
        place for path, tree in modules() for place in refused_names(path, tree, RULES[rule])
    ]
    assert refused == [], rule


def test_each_exception_is_of_a_name_that_exists():
    places = {
        without_line(place)
        for path, tree in modules()
        for check in RULES.values()
        for place in check(path, tree)
    }
    assert EXCEPTIONS.keys() - places == set()


def test_names_that_say_nothing_are_found():
    text = "class Why:\n def placed(self):\n  'What is placed.'\n  found = [x for each in x]\n"
    tree = ast.parse(text)
    assert [len(check("file.py", tree)) for check in RULES.values()] == [2, 1, 1, 1]
