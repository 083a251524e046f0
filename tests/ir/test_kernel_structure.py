"""Kernels are equal where their texts are: what they are compared by needs no text."""

from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest

from staticgrad.errors import ParseError
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.stages import Axis, Map, Operand, Store
from staticgrad.types.dtype import F32
from tests.codegen.random_kernels import random_kernel
from tests.codegen.test_changed_kernels import changed


def kernel_of(value, *others):
    names = [f"p{n + 1}" for n in range(1 + len(others))]
    operands = (Operand("p0", F32, "in"), *(Operand(name, F32, "out") for name in names))
    body = tuple(
        Store(Access(name, (("j", 1),)), each)
        for name, each in zip(names, (value, *others), strict=True)
    )
    return Kernel(operands, ("n0",), (), (Map(Axis("j", "n0"), body),))


@pytest.mark.slow
def test_kernels_are_equal_where_their_texts_are():
    by_text = defaultdict(list)
    for seed in range(60):
        random, text = Random(seed), str(random_kernel(seed))
        for written in (text, *(changed(text, random) for _ in range(8))):
            try:
                kernel = parse_kernel(written)
            except ParseError:
                continue
            by_text[str(kernel)] += [kernel, parse_kernel(str(kernel))]
        by_text[text].append(random_kernel(seed))
    assert len(by_text) > 65
    for kernels in by_text.values():
        assert len(set(kernels)) == 1
    assert len({kernels[0] for kernels in by_text.values()}) == len(by_text)


def test_zeros_by_their_sign_and_nan_by_its_name():
    values = [0.0, -0.0, float("nan"), float("inf"), 1.0]
    kernels = [kernel_of(ex.literal(value, F32)) for value in values]
    assert all(a != b for a, b in combinations(kernels, 2))
    again = float(np.array([0x7FF8000000000001], "u8").view("f8")[0])  # NaN with other bits
    assert kernel_of(ex.literal(again, F32)) == kernels[2]


def test_what_is_shared_is_not_what_is_computed_twice():
    load = ex.load(Access("p0", (("j", 1),)), F32)
    again = ex.load(Access("p0", (("j", 1),)), F32)
    shared, twice = kernel_of(load.exp(), load.exp()), kernel_of(load.exp(), again.exp())
    assert shared != twice
    assert str(shared) != str(twice)
    value = load.exp()
    assert kernel_of(value, value) != shared
    literals = [ex.literal(2.0, F32), ex.literal(2.0, F32)]  # a leaf has no line of its own
    assert kernel_of(load * literals[0], load * literals[0]) == kernel_of(
        load * literals[0], load * literals[1]
    )


def test_every_field_counts():
    kernel = random_kernel(3)
    others = [
        replace(kernel, serial=not kernel.serial),
        replace(kernel, arguments=(*kernel.arguments, "n99")),
        replace(kernel, axes=(*kernel.axes, Axis("i9", 3))),
        replace(kernel, stages=(*kernel.stages, *kernel.stages)),
        replace(kernel, operands=kernel.operands[:-1]),
    ]
    assert all(other != kernel and str(other) != str(kernel) for other in others)
    assert replace(kernel) == kernel
    assert hash(replace(kernel)) == hash(kernel)


def test_a_shared_expression_is_walked_once():
    """Thirty squarings of squarings: a walk along paths would take a thousand million steps."""
    value = ex.load(Access("p0", (("j", 1),)), F32)
    for _ in range(30):
        value = value * value
    assert kernel_of(value, value) == kernel_of(value, value)
