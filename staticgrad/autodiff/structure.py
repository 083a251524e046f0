"""Values in the caller's containers: flattened, paired with cotangents or tangents, put back.

Here what a user hands to a derivative is checked, in the user's words: which values, of what they
consist, and whether a cotangent or tangent fits the value it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import is_not
from typing import Any, TypeVar

import numpy as np

from staticgrad.autodiff.cone import cone_between, value_name
from staticgrad.errors import GradientError, StaticgradError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import kind_of, quote
from staticgrad.functions import creation
from staticgrad.language.ir.graph import Symbolic, constant
from staticgrad.language.ir.pairs import SymbolicComplex
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.indexing import stack
from staticgrad.language.trees import flatten, has_parameters, unflatten
from staticgrad.language.types.arrays import array_of
from staticgrad.language.types.dim import suggest_least_sizes
from staticgrad.language.types.dtype import kind_of_elements
from staticgrad.support.building import within

Key = TypeVar("Key")
Leaf = TypeVar("Leaf", bound=Value)
#: Values in containers within containers, whose exact type checkers are not told.
Structure = list[Any] | tuple[Any, ...] | dict[Any, Any]


def leaves(structure: Any, takes: str = "grad takes values to differentiate by") -> list[Symbolic]:
    """Flatten nested dicts, lists and tuples into the values to differentiate; ``takes``: the
    message.
    """
    if isinstance(structure, Symbolic):
        return [structure]
    if isinstance(structure, SymbolicComplex):
        return flatten(structure)[0]
    if not isinstance(structure, dict | list | tuple):
        raise GradientError(f"{takes}, not {quote(structure)}", hint=_suggest_instead(structure))
    items = structure.values() if isinstance(structure, dict) else structure
    return [leaf for item in items for leaf in leaves(item, takes)]


class _OneLeaf(SymbolicComplex):
    """A complex value whose leaf is the real value that both parts are of."""

    __slots__ = ()
    is_stored = True


def by_stored(structure: Any, outputs: Sequence[Symbolic]) -> Any:
    """Replace complex values by their stored array of pairs where the outputs read that as a whole.

    Factorizations and transforms read both parts as one real value: of a part alone there is no
    path to them.
    """
    values, shape = flatten(structure, keep_complex=True)
    stored = [_OneLeaf(x.re, x.im, x.stored) if _is_read_whole(x, outputs) else x for x in values]
    return unflatten(shape, stored) if any(map(is_not, values, stored)) else structure


def _is_read_whole(x: Any, outputs: Sequence[Symbolic]) -> bool:
    """Return whether outputs read a complex value's stored pairs, rather than its two parts."""
    if not isinstance(x, SymbolicComplex) or x.stored is None or x.is_stored:
        return False
    cuts = {arg.node for part in (x.re, x.im) for arg in part.node.args}
    if any(y.node in cuts or y.key == x.stored.key for y in outputs):
        return True
    parts_and_cuts = {x.re.node, x.im.node, *cuts}
    return any(  # formulas that were rewritten may read the cuts, and not the parts
        node not in parts_and_cuts
        and any(arg.key == x.stored.key or arg.node in cuts for arg in node.args)
        for node in cone_between(outputs, [x.stored]).nodes
    )


def _suggest_instead(structure: Any) -> str:
    """Return a hint: what to pass to a derivative instead of this object."""
    if isinstance(structure, np.ndarray | np.generic | float):
        return 'numbers are constants: make it sg.parameter("w", array), or an input'
    if isinstance(structure, str):
        return "pass the value itself, not its name"
    if isinstance(structure, set | frozenset):
        return "a set has no order: pass a list, whose order the gradients keep"
    if hasattr(structure, "run"):
        return "differentiate the value, then compile the gradients: sg.compile({'dw': dw})"
    if hasattr(structure, "outputs"):
        result = quote(next(iter(structure.outputs), "loss"))
        names = ", ".join([value.name for value in structure.inputs])
        of_result = "" if [*structure.outputs] == ["output"] else f"[{result}]"
        return (
            f"one of its outputs: graph[{result}]; or a function that calls it, whose gradient is a"
            f" function: lambda {names}: graph({names}){of_result}"
        )
    if has_parameters(structure):
        return "of a module: sg.grad(loss, model.parameters())"
    if callable(structure):
        return "a function has no gradient: call it with inputs and differentiate what it gives"
    return "pass an input, a parameter, any other value, or a list, tuple or dict of them"


def not_a_value(data: Any) -> GradientError:
    """Return the error for differentiating something that is not a value of a graph."""
    what = f"{called_name()} differentiates a value of a graph, not {quote(data)}"
    if isinstance(data, list | tuple | dict):
        hint = "add them up to one loss first; sg.vjp takes several values with a cotangent each"
    elif isinstance(data, np.ndarray | np.generic | float):
        hint = "an array is a result, after the run: differentiate the value that was compiled"
    else:
        hint = _suggest_instead(data)
    return GradientError(what, hint=hint)


def pair_leaves(structure: Any, derivatives: Any, role: str) -> Iterator[tuple[Symbolic, Any]]:
    """Pair every value with its cotangent or tangent in equal containers; ``role`` names the
    latter.

    Cotangents of complex values are conjugated, as JAX has them.
    """
    if isinstance(structure, Symbolic):
        yield structure, derivatives
    elif isinstance(structure, SymbolicComplex):
        derivative = (
            derivatives if isinstance(derivatives, Value) else creation.constant(derivatives)
        )
        derivative = astype(derivative, structure.dtype)
        (leaf_values, _), (parts, _) = (
            flatten(structure),
            flatten(SymbolicComplex(derivative.real, derivative.imag)),
        )
        if role == "cotangent":
            parts[1] = -parts[1]
        yield from zip(
            leaf_values, parts if len(leaf_values) == 2 else [stack(parts, -1)], strict=True
        )
    elif isinstance(structure, dict):
        if not isinstance(derivatives, dict) or derivatives.keys() != structure.keys():
            raise _mismatch_error(role, f"a dict of {', '.join(map(repr, structure))}", derivatives)
        for key, item in structure.items():
            yield from pair_leaves(item, derivatives[key], role)
    else:
        if not isinstance(derivatives, list | tuple) or len(derivatives) != len(structure):
            raise _mismatch_error(role, f"a list or tuple of {len(structure)}", derivatives)
        for item, derivative in zip(structure, derivatives, strict=True):
            yield from pair_leaves(item, derivative, role)


def _mismatch_error(role: str, expected: str, derivatives: Any) -> GradientError:
    """Return the error for cotangents or tangents whose containers do not match the values."""
    what = repr(derivatives) if isinstance(derivatives, Symbolic) else kind_of(derivatives)
    if isinstance(derivatives, dict):
        what = f"a dict of {', '.join(map(repr, derivatives)) or 'nothing'}"
    elif isinstance(derivatives, list | tuple):
        what = f"{len(derivatives)} item{'s' * (len(derivatives) != 1)}"
    return GradientError(
        f"the {role}s are {what}, not {expected}",
        hint=f"one {role} per value, in the same containers",
    )


def fit_to_type(value: Symbolic, derivative: Any, role: str) -> Symbolic:
    """Convert a cotangent or tangent (value or array) to the type of the primal ``value``."""
    symbolic = (
        derivative if isinstance(derivative, Symbolic) else _constant_of(value, derivative, role)
    )
    if symbolic.type != value.type:
        related = (
            [(role, str(symbolic.type), symbolic.node.origin)] if symbolic is derivative else []
        )
        raise GradientError(
            f"the {role} is {symbolic.type}, "
            f"{value_name(value)} is {value.type}: they must be equal",
            hint=suggest_least_sizes(symbolic.shape, value.shape),
            related=[*related, ("of", str(value.type), value.node.origin)],
        )
    return symbolic


def _constant_of(value: Symbolic, derivative: Any, role: str) -> Symbolic:
    """Make a constant of an array that the user passed as a cotangent or tangent."""
    try:
        array = array_of(derivative, f"the {role}")
    except StaticgradError:
        raise
    except (TypeError, ValueError):  # ragged lists, among others
        array = np.asarray(None)
    if kind_of_elements(array.dtype) not in "biuf":
        raise GradientError(
            f"the {role} is {quote(derivative)}, not a value or array of type {value.type}"
        )
    with within(value.node.origin):
        return constant(array, value.dtype)


def check_floating(values: Iterable[Symbolic], role: str) -> None:
    """Refuse to differentiate integers and booleans; ``role`` is "of" or "by"."""
    for value in values:
        if value.dtype.is_float:
            continue
        if role == "of":
            text = f"{value_name(value)} is {value.type}: only floating values have derivatives"
            hint = "differentiate what it was made from, before the conversion"
        else:
            text = f"{value_name(value)} is {value.type}: there is no gradient with respect to it"
            hint = (
                "a parameter of floats: sg.parameter(name, array.astype('float32'))\n"
                "or leave it out, or pass allow_disconnected=True for zeros"
            )
        raise GradientError(text, hint=hint, related=[(role, str(value.type), value.node.origin)])
