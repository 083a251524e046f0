"""Requirements of an op before it may be registered.

``missing(name)`` says in sentences what an op lacks; a test wants no sentence. What can be derived
from samples (layouts, views, compiled bits, text) is tested for every op without anybody's help;
the rest stands here.
"""

import inspect

import numpy as np

from staticgrad.errors import StaticgradError
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.types.dtype import ALL_DTYPES
from staticgrad.testing.gradients import CORNERS, grid, kinks
from tests.helpers.limits import finfo
from tests.laws.samples import Sample, declaration_of, samples_of, types_of

#: Around the widths of lanes, where a row of lanes begins anew, and round a block of sums.
SIZES = (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 4095, 4096, 4097)


def kinds_of(name):
    """The letters of the element types that each operand may have, or None if nobody says."""
    declared, cls = declaration_of(name), registered_ops()[name]
    if declared is not None and declared.kinds is not None:
        return declared.kinds
    return (cls.kinds,) * cls.arity if issubclass(cls, Elementwise) else None


def operands_of(name, samples):
    """Return the number of checked operands: those with kinds of their own."""
    most = max(len(s.arrays) for s in samples)
    return min(most, len(kinds_of(name) or ()) or most)


def kind_at(kinds, position):
    """The kinds of one operand; the last stands for all further ones."""
    return kinds[min(position, len(kinds) - 1)]


def variants(sample, position, dtype):
    """The sample's types with ``dtype`` at a position: alone, and for all of its kind at once."""
    types = types_of(sample)
    together = [t.with_dtype(dtype) if t.dtype == types[position].dtype else t for t in types]
    alone = [t.with_dtype(dtype) if i == position else t for i, t in enumerate(types)]
    yield together
    yield alone


def takes(sample, position, dtype):
    """Return whether ``infer`` accepts an element type; its error names the op."""
    for types in variants(sample, position, dtype):
        try:
            sample.op.infer(*types)
        except StaticgradError as error:
            if sample.op.name.removeprefix("complex_") not in str(error):  # as users call it
                raise AssertionError(f"{sample.op.name}: {error} does not name the op") from None
            continue
        return True
    return False


def lacks_dtypes(name, samples):
    kinds = kinds_of(name)
    if kinds is None:
        yield "declares no element types: give `kinds` to declare(), or to an Elementwise class"
        return
    arity = operands_of(name, samples)
    if arity and not kinds:
        yield f"declares no element types of its {arity} operands"
        return
    for position in range(arity):
        applied = [s for s in samples if len(s.arrays) > position and s.arrays[position].size]
        sampled = {s.arrays[position].dtype for s in applied}
        for dtype in ALL_DTYPES:
            expected = dtype.kind in kind_at(kinds, position)
            if dtype.numpy in sampled and not expected:
                yield f"has samples of {dtype.numpy} for operand {position}, not declared"
            if expected and dtype.numpy not in sampled and not is_fixed(applied, position, dtype):
                yield f"has no sample of {dtype.numpy} for operand {position}"
            if not expected and any(takes(s, position, dtype) for s in applied[:3]):
                yield f"takes {dtype.numpy} for operand {position}, not declared"


def is_fixed(samples, position, dtype):
    """Return whether samples cannot have ``dtype`` there: an op may take some of a kind only."""
    return not any(takes(sample, position, dtype) for sample in samples[:40])


def special_kinds(array):
    """Return the special values that an array of floats has."""
    limits = finfo(array.dtype)
    zero, size = array == 0, np.abs(array)
    masks = {
        "+0": zero & ~np.signbit(array),
        "-0": zero & np.signbit(array),
        "inf": array == np.inf,
        "-inf": array == -np.inf,
        "nan": np.isnan(array),
        "a denormal": (size > 0) & (size < limits.tiny),
        "the largest": size == limits.max,
    }
    return {kind for kind, where in masks.items() if where.any()}


SPECIAL = special_kinds(
    np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, finfo(np.float64).max])
)


def lacks_special(name, samples):
    for position in range(operands_of(name, samples)):
        arrays = [s.arrays[position] for s in samples if len(s.arrays) > position]
        for width in (np.float32, np.float64):
            floats = [a for a in arrays if a.dtype == width]
            have = set().union(*map(special_kinds, floats)) if floats else SPECIAL
            if SPECIAL - have:
                gone = ", ".join(sorted(SPECIAL - have))
                yield f"operand {position} in {np.dtype(width)} never holds {gone}"
        if not issubclass(registered_ops()[name], Elementwise) and not any(map(has_ties, arrays)):
            yield f"operand {position} never holds two equal elements (ties)"


def has_ties(array):
    """Return whether two elements are equal, or the array is a scalar without ties."""
    return array.ndim == 0 or len(np.unique(array)) < array.size


def lacks_sizes(name, samples):
    declared, cls = declaration_of(name), registered_ops()[name]
    if issubclass(cls, Elementwise) or declared is None:
        return
    if declared.at_size is None:
        yield "gives no samples at a size: give `at_size` to declare()"
        return
    for n in SIZES:
        if not list(declared.at_size(n)):
            yield f"gives no sample at size {n}"


def lacks_derivatives(name, samples):
    if not registered_ops()[name].differentiable:
        return
    smooth = [s for s in samples if s.smooth]
    declared = declaration_of(name)
    if not smooth and not (declared is not None and declared.fixed):
        yield "carries gradients, but no sample is smooth (or say differentiable = False)"
        return
    for position in range(operands_of(name, samples)):
        floats = any(
            a.dtype.kind == "f" for s in samples for a in s.arrays[position : position + 1]
        )
        varied = any(
            a.dtype == np.float64 and a.size
            for s in smooth
            for a in s.arrays[position : position + 1]
        )
        fixed = declared is not None and position in declared.fixed + declared.refused
        if floats and not varied and not fixed:
            yield f"no smooth sample moves its floating operand {position}"


def points(name, samples):
    """Return points to search for kinks: small numbers of every sign, in pairs; equal elements."""
    cls = registered_ops()[name]
    if issubclass(cls, Elementwise):
        ops = {type(s.op)(**dict(s.op.attributes())): s for s in samples}
        for op, sample in list(ops.items())[:12]:
            kinds = kinds_of(name) or ()
            axes = [
                CORNERS if "f" in kind_at(kinds, i) else np.unique(a)
                for i, a in enumerate(sample.arrays)
            ]
            for chosen in zip(*grid(axes), strict=True):
                yield Sample(op, tuple(np.array([number]) for number in chosen))
        return
    for sample in [s for s in samples if s.smooth and s.arrays[0].size][:12]:
        flat = [np.full_like(a, 0.5) if a.dtype.kind == "f" else a for a in sample.arrays]
        yield Sample(sample.op, tuple(flat))
        yield Sample(sample.op, tuple(np.zeros_like(a) if a.dtype.kind == "f" else a for a in flat))


def lacks_kink(name, samples):
    cls = registered_ops()[name]
    if not cls.differentiable or cls.kink:
        return
    for sample in points(name, samples):
        for place in kinks(sample.op.reference, sample.arrays):
            yield f"has a kink, {place}, and its class says nothing in `kink`"
            return


def lacks_words(name, samples):
    cls, declared = registered_ops()[name], declaration_of(name)
    docstring = inspect.cleandoc(cls.__doc__ or "")
    if len(docstring) < 8 or docstring.startswith(f"{cls.__name__}("):
        yield "has no docstring"
    if declared is None:
        yield 'says nothing of NumPy: declare(name, "np.function(x)") in declared_samples.py'


CHECKS = {
    "dtypes": lacks_dtypes,
    "special values": lacks_special,
    "sizes": lacks_sizes,
    "derivatives": lacks_derivatives,
    "kink": lacks_kink,
    "words": lacks_words,
}


def missing(name):
    """Check -> what op ``name`` lacks for it; empty if nothing."""
    samples = samples_of(name)
    if not samples:
        return {"samples": [f"{name} has no samples: write @provides({name!r}) in a *_samples.py"]}
    gaps = {check: list(lacks(name, samples)) for check, lacks in CHECKS.items()}
    return {
        check: [f"{name} {s}" for s in sentences] for check, sentences in gaps.items() if sentences
    }
