"""Memory and sizes for random kernels (``laws/test_kernels.py`` runs them), and damaged ones."""

from dataclasses import replace

import numpy as np
import pytest

from staticgrad.errors import VerifyError
from staticgrad.language.ir.expr import Access, index, literal, ref
from staticgrad.language.ir.kernels.known import known_of
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    Columns,
    Gemm,
    Map,
    Operand,
    Scalar,
    Search,
    Store,
    nested_stages,
    statements,
)
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.types.dtype import BOOL, F32
from tests.codegen.random_kernels import random_kernel

FEW = 8
SIZES = {"n0": (0, 1, 2, 3), "n1": (0, 1, 5, 16, 17, 33, 70), "n2": (1, 2, 7, 40)}
LONG = {"n0": (1, 2), "n1": (4097, 8200), "n2": (1, 7)}
DEEP = {"n0": (1, 2), "n1": (5, 17), "n2": (33, 1100)}
TALL = {"n0": (31, 33, 100), "n1": (1, 5, 17), "n2": (1, 2)}
TALLEST = {"n0": (1100, 2100), "n1": (1, 5), "n2": (1, 2)}
KNOWN = {"n0": (1, 3), "n1": (16, 32, 64, 128, 3), "n2": (2, 3, 64)}


def sizes_of(kernel, seed):
    """Every 40th kernel has rows of several blocks, or columns of several groups.

    Half of those that take rows in groups have several blocks or groups of them, and every third
    kernel relies on what holds of its sizes.
    """
    rng = np.random.default_rng(seed)
    lengths = SIZES if seed % 40 else LONG if seed % 80 else DEEP
    lengths = lengths if seed % 3 else KNOWN
    if kernel.grouped and seed % 2:
        lengths = TALL if seed % 41 else TALLEST
    sizes = {name: int(rng.choice(among)) for name, among in lengths.items()}
    if "  loop " in str(kernel):  # iterations multiply
        sizes["n2"] = min(sizes["n2"], 3)
    if _has_transposed_columns(kernel):
        sizes["n1"] = min(sizes["n1"], 128)
    apart = 2 * (sizes["n0"] + sizes["n2"] + 3) * (sizes["n1"] + 5) + 5
    return sizes | {"n3": apart, "n4": 2 * apart, "n5": 4 * sizes["n1"]}


def _has_transposed_columns(kernel):
    """Return whether a product reads columns that are a row of memory apart."""
    products = (stage for stage, _ in nested_stages(kernel.stages) if isinstance(stage, Gemm))
    return any(("j", "n1") in stage.b.strides for stage in products)


def memory_of(kernel, sizes, seed):
    """Arrays by operand: all kinds of numbers, checks without a note, ascending where searched."""
    rng = np.random.default_rng(seed)
    count = 2 * sizes["n4"] + 4 * (sizes["n0"] + sizes["n2"]) + 30
    room = kernel.room([sizes[argument] for argument in kernel.arguments])
    stages = [stage for stage, _ in nested_stages(kernel.stages)]
    if _has_transposed_columns(kernel):
        count += sizes["n1"] ** 2
    searched = {s.operand for g in stages for s in statements(g) if isinstance(s, Search)}
    arrays = {}
    for operand in kernel.operands:
        dtype = operand.dtype.numpy
        if operand.mode == "check":
            arrays[operand.name] = np.array([-1, 0])
            continue
        count = max(count, int(room.get(operand.name, 0)))
        array = (rng.normal(size=count) * 3).astype("f4").astype(dtype)
        if dtype.kind in "iu":
            array = rng.integers(0, sizes["n2"], count).astype(dtype)
            odd = rng.random(count) < 0.02
            array[odd] = rng.integers(-3, 2, int(odd.sum())).astype(dtype)
        elif dtype.kind == "f":
            odd = rng.random(count) < 0.05
            array[odd] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0], int(odd.sum()))
        arrays[operand.name] = np.sort(array) if operand.name in searched else array
    return arrays


def with_facts(kernel, sizes):
    """A kernel that relies on all that holds of its sizes."""
    facts = [known_of(name, [sizes[name]]) for name in kernel.arguments]
    return replace(kernel, facts=tuple(fact for fact in facts if not fact.is_nothing))


# -- damage ---------------------------------------------------------------------------------------


def _stages(kernel, *added):
    return replace(kernel, stages=(*kernel.stages, *added))


def _reading(kernel, name, dtype=F32):
    """One more stage, which stores a result of another."""
    extended = replace(kernel, operands=(*kernel.operands, Operand("p99", dtype, "out")))
    return _stages(extended, Scalar((Store(Access("p99"), ref(name, dtype)),)))


def _result_of_columns(kernel):
    for stage in kernel.stages:
        if isinstance(stage, Columns):
            return _reading(kernel, stage.body[0].name, stage.body[0].value.dtype)
    return None


def _check_of_a_map(kernel):
    for stage in kernel.stages:
        if isinstance(stage, Map):
            for s in stage.body:
                if isinstance(s, Check | Search):
                    return _reading(kernel, s.name, literal(0, F32).dtype)
    return None


def _rename_operand(kernel, name):
    first = kernel.operands[0]
    return replace(kernel, operands=(replace(first, name=name), *kernel.operands[1:]))


def _twice(kernel):
    named = [s for s in kernel.stages if any(not isinstance(x, Store) for x in statements(s))]
    return _stages(kernel, named[0]) if named else None


def _of_bools(kernel):
    return _stages(kernel, Map(Axis("j", "n1"), (Accumulate("r99", "sum", literal(True, BOOL)),)))


def _into_inputs(kernel):
    if not any(o.mode in ("out", "scratch") for o in kernel.operands):
        return None
    modes = {"out": "in", "scratch": "in"}
    changed = (replace(o, mode=modes.get(o.mode, o.mode)) for o in kernel.operands)
    return replace(kernel, operands=tuple(changed))


DAMAGE = {
    "no stages": lambda k: replace(k, stages=()),
    "an empty map": lambda k: _stages(k, Map(Axis("j", "n1"), ())),
    "an empty scalar": lambda k: _stages(k, Scalar(())),
    "a map along another axis": lambda k: _stages(
        k, Map(Axis("k", "n1"), (Accumulate("r99", "sum", literal(1, F32)),))
    ),
    "an unknown kind": lambda k: _stages(
        k, Map(Axis("j", "n1"), (Accumulate("r99", "product", literal(1, F32)),))
    ),
    "a sum of bools": _of_bools,
    "a result that nothing gives": lambda k: _reading(k, "r99"),
    "a vector of columns read by a later stage": _result_of_columns,
    "a lane's place read by a later stage": _check_of_a_map,
    "names of results given twice": _twice,
    "an operand called as a word of the language": lambda k: _rename_operand(k, "load"),
    "an operand called as a value of a renderer": lambda k: _rename_operand(k, "v0"),
    "an operand without a declaration": lambda k: replace(k, operands=k.operands[1:]),
    "an argument without a declaration": lambda k: replace(k, arguments=()),
    "an operand that nothing uses": lambda k: replace(
        k, operands=(*k.operands, Operand("p99", F32, "in"))
    ),
    "the position of no loop": lambda k: _stages(
        k, Map(Axis("j", "n1"), (Accumulate("r99", "sum", index("i7")),))
    ),
    "stores to what is only read": _into_inputs,
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_kernels_are_refused(damage):
    refused = 0
    for seed in range(60):
        broken = DAMAGE[damage](random_kernel(seed))
        if broken is not None:
            with pytest.raises(VerifyError):
                verify_kernel(broken)
            refused += 1
    assert refused > 5
