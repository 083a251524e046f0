"""Kernels with a token or a line of their text changed: whatever the verifier accepts, compiles.

A few hundred changes in the ordinary suite; twenty thousand with ``-m exhaustive``.
"""

import re
from random import Random

import pytest

from staticgrad import native
from staticgrad.backends import source_of
from staticgrad.errors import ParseError, VerifyError
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from tests.codegen.golden import ON_FILE
from tests.codegen.random_kernels import random_kernel

TOKEN = re.compile(r"@?\b\w+\b|\*-?\w+|%\d+")


def change_text(text, random):
    """A line taken out, two lines exchanged, or one token put in place of another."""
    lines, how = text.split("\n"), random.random()
    if how < 0.2:
        del lines[random.randrange(1, len(lines) - 2)]
        return "\n".join(lines)
    if how < 0.35:
        first, second = (random.randrange(1, len(lines) - 2) for _ in range(2))
        lines[first], lines[second] = lines[second], lines[first]
        return "\n".join(lines)
    old, new = (random.choice([*TOKEN.finditer(text)]) for _ in range(2))
    return text[: old.start()] + new.group() + text[old.end() :]


def parse_sound(text):
    """The kernel of a text that is sound."""
    try:
        kernel = parse_kernel(text)
        verify_kernel(kernel)
    except (ParseError, VerifyError):
        return None
    return kernel


def check_changes(seeds):
    sound = 0
    for seed in seeds:
        random = Random(seed)
        text = random.choice((str(random_kernel(seed)), random.choice([*ON_FILE.values()])))
        for _ in range(10):
            kernel = parse_sound(change_text(text, random))
            if kernel is not None:
                sound += 1
                native.kernel(source_of(kernel))
    assert 20 * sound > len(seeds)


@pytest.mark.slow
def test_what_is_accepted_after_a_change_compiles():
    check_changes(range(40))


@pytest.mark.exhaustive
def test_what_is_accepted_after_many_changes_compiles():
    check_changes(range(40, 2040))
