"""Samples of every op: an instance with operands, for the tests that go over the registry.

Each family has a file ``tests/laws/*_samples.py`` that registers one provider per op name:

    @provides("sum")
    def _(rng):
        yield Sample(op_class("sum")(axes=(0,)), (rng.normal(size=(3, 4)),))

Give several shapes (0-d, size 0 and 1, broadcast), every dtype the op takes, and special values.
The tests check the derivatives in float64 at the samples marked ``smooth``: no operand within 1e-3
of a kink. Beside them an op has a ``declare`` (see ``declared_samples.py``). An op that lacks any
of this fails ``test_completeness`` with a sentence that says what to add.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import staticgrad.functions  # noqa: F401 - fills the registry
from staticgrad.language.ir.op import Op, registered_ops
from staticgrad.language.ir.rounded import round_results
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import as_dtype

LEAVES = ("input", "parameter", "constant")
PROVIDERS = {}
AtSize = Callable[[int], Iterator["Sample"]]


@dataclass(frozen=True)
class Declaration:
    """Facts of an op that tests need beside samples; ``declare`` registers them.

    ``spelling`` is an expression of NumPy over ``x``, ``y``, ``z`` (the operands), ``operands`` and
    ``op``; or, where there is none, a sentence that begins with "no ". ``kinds`` has the letters of
    the element types of each operand, the last standing for all further ones; None: those of the
    class. ``at_size`` gives samples over rows of n elements; None for an elementwise op. ``fixed``
    are positions of floating operands that carry no gradient by the op's definition, ``refused``
    those by which a derivative is an error.
    """

    spelling: str
    kinds: tuple[str, ...] | None = None
    at_size: AtSize | None = None
    fixed: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()


DECLARATIONS = {}


def declare(name, spelling, kinds=None, at_size=None, fixed=(), refused=()):
    """Say what op ``name`` is in NumPy, which elements it takes, and how to make it large."""
    if name in DECLARATIONS:
        raise ValueError(f"op {name!r} is declared twice")
    DECLARATIONS[name] = Declaration(spelling, kinds, at_size, fixed, refused)


@dataclass(frozen=True)
class Sample:
    """One application of an op to concrete operands.

    ``smooth``: all floating operands may move by 1e-3 without crossing a kink or leaving the
    domain, so that derivatives can be compared with differences. ``tolerance`` is relative, for
    the comparison of ``scalar`` with ``reference`` in float32 where the op is not exact, ``wide``
    that in float64. ``refused``: operands that carry no gradient, beside the declared ones.
    """

    op: Op
    arrays: tuple[Any, ...]
    smooth: bool = False
    tolerance: float = 1e-6
    wide: float = 1e-14
    refused: tuple[int, ...] = ()

    def reference(self):
        """Return the op's reference at the operands, in the dtypes of the results."""
        types = types_of(self)
        outs = as_tuple(self.op.infer(*types))
        return round_results(self.op.reference, self.op, types, outs)(*self.arrays)

    @property
    def moves(self):
        """Return for each operand if it is differentiable: floating, and not refused."""
        declared = declaration_of(self.op.name)
        refused = self.refused + (declared.refused if declared is not None else ())
        return tuple(a.dtype.kind == "f" and i not in refused for i, a in enumerate(self.arrays))

    def __post_init__(self):
        object.__setattr__(self, "arrays", tuple(map(np.asarray, self.arrays)))

    def apply(self, *values):
        """The op bound to values (or to the sample's own arrays as constants)."""
        return self.op(*(values or self.arrays))


def op_names():
    """The ops of this package but for the leaves; those from outside have a dot in their names."""
    return [name for name in registered_ops() if name not in LEAVES and "." not in name]


def as_tuple(result):
    """Results of an op, one or several."""
    return result if isinstance(result, tuple) else (result,)


def types_of(sample):
    """The types of a sample's operands."""
    return [TensorType(as_dtype(a.dtype), a.shape) for a in sample.arrays]


def provides(*names):
    """Register a generator of samples for the ops ``names``."""

    def register(provider):
        for name in names:
            if name in PROVIDERS:
                raise ValueError(f"op {name!r} has two sample providers")
            PROVIDERS[name] = provider
        return provider

    return register


def load_providers():
    """Every provider of the ``*_samples.py`` files beside this one."""
    for path in sorted(Path(__file__).parent.glob("*_samples.py")):
        importlib.import_module(f"tests.laws.{path.stem}")
    return PROVIDERS


def declaration_of(name):
    """Return the declaration of op ``name``."""
    load_providers()
    return DECLARATIONS.get(name)


def samples_of(name, seed=0):
    """The samples of op ``name``; the same for the same seed. Empty if there is no provider."""
    provider = load_providers().get(name)
    return [] if provider is None else list(provider(np.random.default_rng(seed)))
