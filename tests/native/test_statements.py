"""What a line means does not depend on who reads it: forms of lines, or Python's parser at once."""

import ast

import pytest

from staticgrad.backends import render
from staticgrad.native.language import frontend, statements
from staticgrad.native.language.frontend import Function, split_source
from staticgrad.native.language.translation import KernelSourceError
from tests.codegen.golden import FOLDER, kernel_of

FILES = sorted(FOLDER.glob("*.txt"))
HEAD = "def kernel(t, own, begin, end):\n    p = ptr_f64(t[0])\n    a = load1(p, 0)\n    n = t[1]\n"
#: Bodies that are read by their lines: what stands in them has one meaning.
PLAIN = (
    "    b = a * 1.5 + -0.25 - 1e-05 / a\n    store1(p, 0, b)\n",
    "    for i in range(n, 0, -2):\n        if i % 2 == 1 and not i == 3:\n            continue\n"
    "        elif i < 9:\n            n = n + i\n        else:\n            break\n"
    "    store1(p, n, a)\n",
    "    while 0 < n <= 7 or n == 9:\n        n -= 1\n        a, b = a + a, a\n        a = b = -b\n"
    "    store1(p, n, a if n < 2 else -a)\n",
    "    not_n = ptr_i64(t[2])\n    i0 = ~i64x1(n)\n    store1(not_n, 0, i0 & i64x1(7))\n"
    "    not_n_ = n % 4 - +n\n    store1(p, 0x1F + not_n_, a)\n    return\n",
    "    k = n + 1 if 3 < n and n < 9 or n == 1 else -n\n    if n > k:\n        n = 3 * k - n\n"
    "    if n > 4:\n        a = -a\n    if n > 1:\n        k = n // 2\n    store1(p, n + k, a)\n",
    "    b = 1.5 if n > 2 else -2.5\n    if n > 2:\n        n = n % 3 if n == 1 else 1\n",
    "    pass\n    a\n    1.5\n    None\n    store1(p, (n if n > 3 else 2) // 2, a)\n",
)
#: Bodies, good and bad, that are left to Python's parser, or in which it finds what is wrong.
ODD = (
    "    b = (a +\n    a)\n    store1(p, 0, b)\n",
    "    store1(p, 1, a)  # why\n",
    "    store1(p, 1, a); store1(p, 2, a)\n",
    "    if n > 1: store1(p, 1, a)\n",
    "    if (n > 1):\n      store1(p, 1, a)\n",
    '    """What it does."""\n    store1(p, 1, a)\n',
    "    b = .5 * a + 1. * a + 1_0 * a + 1E1 * a + 5.e-1 * a\n    store1(p, 0, b)\n",
    "    store1(p, 1, a)\n\n    store1(p, 2, a)\n",
    "    b = 007 + a\n",
    "    b: int = n\n    store1(p, b, a)\n",
    "    a.b = n\n",
    "    b = load1(p, index=1)\n",
    "    b = [n for n in range(3)]\n",
    "    for i in range(3):\n        n = i\n    else:\n        n = 2\n",
    "    if n:\n    n = 2\n",
    "    n = 2\n  n = 3\n",
    "      n = 2\n",
    "    else:\n        n = 2\n",
    "    b = a @ a\n",
    "    b = a < a in a\n",
    "    b = a[0:1]\n",
    "    a, n = n\n",
    "    1 = n\n",
    "    b = c\n",
    "    raise n\n",
    "    with n:\n        n = 2\n",
    "    def f(n):\n        return n\n",
    "    a += n\n    n += a\n    n = 1.5\n",
    "    é = a\n    store1(p, 0, é)\n",
    "    global n\n    n = 1\n",
    "    b = 1j * a\n",
    "    if n > 1:\n        c = 1\n    store1(p, c, a)\n",
)


def outcome(source):
    """The module of a source, or what is wrong with it."""
    for memory in (frontend._parsed, frontend._entries, frontend._helpers):
        memory.clear()
    try:
        return frontend.modules(source, "entry")
    except KernelSourceError as error:
        return str(error)


def by_trees(source, monkeypatch):
    """The same, by Python's parser alone."""
    with monkeypatch.context() as patch:
        patch.setattr(statements, "read", lambda part: None)
        return outcome(source)


@pytest.mark.parametrize("body", [*PLAIN, *ODD])
def test_a_body_means_the_same_by_its_lines_and_by_its_tree(body, monkeypatch):
    assert (statements.read(HEAD + body) is not None) >= (body in PLAIN)
    found = outcome(HEAD + body)
    assert found == by_trees(HEAD + body, monkeypatch)
    assert isinstance(found, str) <= (body in ODD)


@pytest.mark.thinned(8)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kernel_runs_are_read_by_their_lines(path, monkeypatch):
    source = render(kernel_of(path.read_text()))
    parts = [each for each in frontend.parts_of(source) if each.strip()]
    assert parts
    assert all(statements.read(each) is not None for each in parts)
    assert outcome(source) == by_trees(source, monkeypatch)


def test_names_that_statements_assign_are_counted():
    text = HEAD + PLAIN[1]
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.FunctionDef)
    lines, whole = statements.read(text), statements.of_tree(tree)
    assert lines is not None
    assert dict(lines.assigned) == dict(whole.assigned)
    assert lines.assigned == dict.fromkeys(["t", "own", "begin", "end", "p", "a", "i"], 1) | {
        "n": 2
    }
    (_, _, _, loop, _), (_, _, _, other, _) = lines.body, whole.body
    assert isinstance(loop, statements.Loop)
    assert isinstance(other, statements.Loop)
    assert [*loop.assigned] == [*other.assigned] == ["i", "n"]
    assert split_source(text) == {"kernel": Function(text.rstrip("\n"), lines)}
