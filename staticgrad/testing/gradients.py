"""Checks of derivatives against central differences, of kinks, and comparison of graphs and arrays.

The NumPy oracle in float64 uses no rule and no kernel; what is checked are the rules of the ops, in
reverse and in forward mode. It also checks an op or a ``custom_vjp`` of a user.

Kinks are found from NumPy functions and points, without rules of differentiation. A point counts
as smooth if central differences at two distances agree in slope and bend. It counts as a
kink if the slopes from the left and the right stay apart as the distance shrinks, or grow without
end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from inspect import signature
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import ArgumentError, CheckError
from staticgrad.extend import (
    Array,
    Graph,
    Input,
    Node,
    Symbolic,
    TensorType,
    Value,
    as_dtype,
    dataclass,
    functions,
    kind_of,
    quote,
)
from staticgrad.extend.building import capture
from staticgrad.extend.dtypes import F64
from staticgrad.extend.gradients import grad, jvp
from staticgrad.extend.parameters import Complex, check_real, has_parts
from staticgrad.extend.programs import evaluate
from staticgrad.extend.trees import flatten, unflatten
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.pairs import takes_real, whole_type
from staticgrad.language.ir.printer import first_difference
from staticgrad.programs.derivatives import is_function


def assert_same_graph(found: Graph | Value, expected: Graph | Value) -> None:
    """Check that two graphs have the same structure; report the first line that differs.

    Nodes are compared in order: ops with attributes, operands, types; then inputs, parameters (by
    name and type), sizes, outputs and updates. Names of graphs, lines and orders do not count.

    Args:
        found, expected: graphs; a value stands for the graph that computes it.

    Raises:
        CheckError: they differ; one line of each is shown.
        ArgumentError: something else than graphs and values.
    """
    for graph in (found, expected):
        if not isinstance(graph, Graph | Symbolic):
            raise ArgumentError(f"assert_same_graph takes graphs or values, not {kind_of(graph)}")
    left, right = (g if isinstance(g, Graph) else Graph(g) for g in (found, expected))
    difference = first_difference(left, right)
    if difference is not None:
        left_line, right_line = difference.split("\n")
        raise CheckError(
            "the graphs differ",
            details=[
                f"found:    {left_line.partition(': ')[2].strip()}",
                f"expected: {right_line.partition(': ')[2].strip()}",
            ],
        )


def array_text(array: Any) -> str:
    """An array in one line: its elements, in the middle left out if there are many."""
    shown = np.array2string(np.asarray(array), threshold=12, edgeitems=3, separator=", ")
    return " ".join(shown.split())


Feeds = Mapping[Any, npt.ArrayLike] | Sequence[npt.ArrayLike]
#: Forward and reverse mode compute one number from the same partials, in another order.
_MODES_AGREE: Final = 1e-9
_MOST_PROBES: Final = 256  # elements that are moved one by one to find the worst


def check_gradients(
    target: Callable[..., Any] | Graph | Value | Sequence[Value],
    feeds: Feeds = (),
    *,
    order: int = 2,
    directions: int = 3,
    step: float = 2e-4,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    seed: int = 0,
    argnums: int | tuple[int, ...] | None = None,
) -> float:
    """Check derivatives of every order up to ``order``, along random directions, in both modes.

    The outputs are weighed with random numbers and added up to one number L. Then, per order, the
    product of the gradient of L with a random direction v must agree with the central difference
    of fourth order, (8 (L(h) - L(-h)) - L(2h) + L(-2h)) / 12h where L(h) is at x + h v (Abramowitz
    and Stegun, 25.3.6); the tangent by ``jvp`` must agree with the product; and the product is the
    L of the next order. Everything is evaluated by NumPy in float64, whatever the dtypes.

    Args:
        target: a function of values that gives a value or several; or a Graph, a value, or a list
            of values. Its floating outputs are checked.
        feeds: where to check. For a function, its operands as a sequence of arrays (or a dict, by
            the names of its arguments); else a feed per input. Floating inputs are differentiated
            by, and so are floating parameters, at their present values. The point must be smooth:
            at least ``2 * step`` away from any kink.
        order: the highest order of derivatives.
        directions: how many random directions are tried at each order.
        step: h, relative to directions whose largest element is about 1.
        rtol, atol: the error allowed, relative to the sum of abs(gradient * direction).
        seed: of the random numbers.
        argnums: of a function, the place of an operand or a tuple of places to differentiate by; by
            default all floating operands.

    Returns:
        The worst error met, relative to the same sum.

    Raises:
        CheckError: a derivative that is wrong; shows order, direction, and the element of the
            input whose derivative is farthest off, with both numbers.
        ArgumentError: no floating input or output, or feeds that are no operands.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (2,), "float32")
    >>> check_gradients(sg.exp(x) / x, {"x": [0.5, 1.5]}) < 1e-7
    True
    """
    program = _program(target, feeds)
    if argnums is not None:
        if not is_function(target):
            raise ArgumentError(
                "check_gradients: argnums belongs to functions; of a graph every floating input and"
                " parameter is checked"
            )
        operands = dict(enumerate(program.feeds))
        places = argnums if isinstance(argnums, tuple) else (argnums,)
        for place in places:
            if operands.get(place) not in set(program.floating):
                raise ArgumentError(
                    f"check_gradients: argnums={quote(argnums)}: operand {place} is not a floating"
                    " array"
                )
        program.floating = [operands[place] for place in places]
    if not program.floating or not program.outputs:
        types = ", ".join(sorted({x.dtype.name for x in program.feeds})) or "none"
        raise ArgumentError(
            "check_gradients: there is no floating input or no floating output to check",
            details=[f"inputs are of {types}"],
        )
    check = _Check(program, np.random.default_rng(seed), step, rtol, atol)
    current = check.weighted_sum()
    for level in range(1, order + 1):
        current = check.level(current, level, directions)
    return check.worst


def check_grads(
    y: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    modes: Sequence[str] | None = None,
    order: int = 2,
) -> Callable[..., None]:
    """Return a check of the derivatives of ``y``: ``check_gradients`` by autograd's call.

    Args:
        y: a function of arrays or trees of them that gives a value, or a tree of values.
        argnums: the place of the argument by which it is differentiated, or a tuple of places.
        modes: "fwd", "rev" or both. Each call checks both modes, whatever is named: the rules of
            one give the other.
        order: the highest order of derivatives.

    Returns:
        A function of the arguments of ``y``, which returns None.

    Raises:
        ArgumentError: another mode; of the function, arguments that hold no floating array.
        CheckError: of the function, a derivative that is wrong.

    >>> check_grads(lambda x: x**3, modes=["rev"])(np.array([0.5, 2.0]))
    """
    wrong = [mode for mode in modes or () if mode not in ("fwd", "rev")]
    if wrong:
        raise ArgumentError(f"check_grads: modes must be 'fwd' or 'rev', got {quote(wrong[0])}")
    places = argnums if isinstance(argnums, tuple) else (argnums,)

    def check(*args: Any, **kwargs: Any) -> None:
        """Check the derivatives of a function at these arguments, for ``check_grads``."""
        if any(not 0 <= place < len(args) for place in places):
            raise ArgumentError(
                f"check_grads: argnums={quote(argnums)}, of {len(args)} arguments",
                hint="sg.testing.check_grads(f)(x)",
            )
        leaves, tree = flatten([args[place] for place in places])

        def of_leaves(*leaves: Any) -> Any:
            operands = list(args)
            for place, part in zip(places, unflatten(tree, leaves), strict=True):
                operands[place] = part
            return flatten(y(*operands, **kwargs))[0]

        check_gradients(of_leaves, leaves, order=order)

    return check


@dataclass
class _Program:
    """Values over inputs only, with a feed for each; ``floating`` are the inputs of floats."""

    outputs: list[Symbolic]
    floating: list[Symbolic]
    feeds: dict[Symbolic, Array]


def _program(target: Any, feeds: Feeds) -> _Program:
    """Return a target of ``check_gradients`` as a graph with feeds by name."""
    if callable(target) and not isinstance(target, Graph):
        return _of_function(target, feeds)
    graph = target if isinstance(target, Graph) else _graph(target)
    for leaf in (*graph.inputs, *graph.parameters):
        if has_parts(leaf.node.op):
            raise takes_real("check_gradients", whole_type(leaf.type))
    if not isinstance(feeds, Mapping):
        if len(feeds):
            raise ArgumentError("the feeds of a graph are a dict, by input")
        feeds = {}
    feeds_by_name = {_name(k) if isinstance(k, Symbolic) else k: a for k, a in feeds.items()}
    bound: dict[Node, Symbolic] = {value.node: value for value in graph.inputs}
    arrays: dict[Symbolic, Any] = {x: feeds_by_name.pop(_name(x), None) for x in graph.inputs}
    for parameter in graph.parameters:
        bound[parameter.node] = _variable(parameter.name, parameter.type)
        arrays[bound[parameter.node]] = parameter.value
    wrong = [*map(str, feeds_by_name), *(_name(x) for x, array in arrays.items() if array is None)]
    if wrong:
        raise ArgumentError(f"{wrong[0]!r} has no feed, or is not an input")
    graph = graph.replace_nodes(lambda node, _: [bound[node]] if node in bound else None)
    return _of_values(list(graph.outputs.values()), arrays)


def _of_function(function: Callable[..., Any], feeds: Feeds) -> _Program:
    """Trace a function on its feeds as a graph, for ``check_gradients``."""
    if isinstance(feeds, np.ndarray):
        raise ArgumentError(
            "the feeds of a function are its operands, one array each, in a list",
            hint="check_gradients(function, [array])",
        )
    named = feeds if isinstance(feeds, Mapping) else {f"x{i}": a for i, a in enumerate(feeds)}
    by_name = isinstance(feeds, Mapping)
    takes = None
    with suppress(ValueError):  # a builtin may hide what it takes
        takes = signature(function)
    try:
        if takes is not None:
            takes.bind(*(() if by_name else named), **(named if by_name else {}))
    except TypeError as error:
        raise ArgumentError(
            f"the function takes {takes}, the feeds are {len(named)}: {error}",
            hint="one array per operand, in a list, or in a dict by the names of the arguments",
        ) from None
    arrays = {}
    for name, data in named.items():
        array = np.asarray(data)
        check_real(array)
        array = array.astype(np.float64) if array.dtype.kind == "f" else array
        arrays[_variable(name, TensorType(as_dtype(array.dtype), array.shape))] = array
    values = list(arrays)
    result = function(**dict(zip(named, values, strict=True))) if by_name else function(*values)
    return _of_values(list(_graph(result).outputs.values()), arrays)


def _of_values(outputs: list[Symbolic], arrays: Mapping[Symbolic, Any]) -> _Program:
    feeds = {
        value: np.asarray(a, np.float64 if value.dtype.is_float else value.dtype.numpy)
        for value, a in arrays.items()
    }
    floating = [value for value in outputs if value.dtype.is_float]
    return _Program(floating, [value for value in feeds if value.dtype.is_float], feeds)


def _graph(target: Any) -> Graph:
    """Return outputs of any container as a graph, for ``check_gradients``."""
    values = list(target) if isinstance(target, list | tuple) else target
    if isinstance(values, Symbolic | Complex):
        values = [values]
    elif isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list):
        check_real(*values)
    if not isinstance(values, list) or not all(isinstance(v, Symbolic) for v in values):
        raise ArgumentError(
            f"check_gradients takes a function, a Graph or values, not {target!r}",
            hint="a function gives a value, or a list, tuple or dict of them",
        )
    return Graph({str(i): value for i, value in enumerate(values)})


def _variable(name: str, tensor_type: TensorType) -> Symbolic:
    return Symbolic(leaf_node(Input(name, tensor_type), capture()))


@dataclass
class _Check:
    """The state of one check: random numbers, added inputs, the worst error so far."""

    program: _Program
    rng: np.random.Generator
    step: float
    rtol: float
    atol: float
    worst: float = 0.0
    added: dict[Symbolic, Array] = field(default_factory=dict)

    def weighted_sum(self) -> Value:
        """Add up all outputs, weighed by inputs of their shapes: one scalar to differentiate."""
        arrays = self.values(self.program.outputs)
        weights = [
            _variable(f"weight {i}", y.type.with_dtype(F64))
            for i, y in enumerate(self.program.outputs)
        ]
        for weight, array in zip(weights, arrays, strict=True):
            self.added[weight] = self.rng.normal(size=array.shape)
        return _total(zip(self.program.outputs, weights, strict=True))

    def level(self, current: Value, order: int, directions: int) -> Value:
        """Check first derivatives of ``current`` by differences; return them for the next order."""
        inputs = self.program.floating
        along = [
            _variable(f"direction {order} of {_name(x)}", x.type.with_dtype(F64)) for x in inputs
        ]
        gradients = grad(current, inputs, allow_disconnected=True)
        slope = _total(zip(gradients, along, strict=True))
        scale = _total((abs(g), abs(v)) for g, v in zip(gradients, along, strict=True))
        tangents = [v.astype(x.dtype) for v, x in zip(along, inputs, strict=True)]
        tangent = jvp(current, inputs, tangents, allow_disconnected=True)
        for turn in range(directions):
            for x, v in zip(inputs, along, strict=True):
                self.added[v] = self.direction(self.program.feeds[x].shape)
            results = self.values([slope, tangent, scale])
            by_rule, by_tangent, size = (float(number) for number in results)
            steps = {x: self.added[v] for x, v in zip(inputs, along, strict=True)}
            difference = self.difference(current, steps)
            error = abs(by_rule - difference)
            where = f"order {order}, direction {turn + 1} of {directions}"
            if not error <= self.atol + self.rtol * max(size, abs(difference)):
                raise self.failure(current, gradients, where, by_rule, difference)
            if not abs(by_rule - by_tangent) <= self.atol + _MODES_AGREE * max(size, 1.0):
                raise CheckError(
                    f"forward mode gives {by_tangent!r}, reverse mode {by_rule!r} ({where})",
                    details=self.sample(),
                )
            self.worst = max(self.worst, error / max(size, abs(difference), self.atol))
        return slope

    def direction(self, shape: tuple[int, ...]) -> Array:
        """Return random numbers, the largest of which is 1."""
        numbers = self.rng.normal(size=shape)
        return np.asarray(numbers / max(1.0, np.abs(numbers).max(initial=0.0)))

    def values(
        self, values: Sequence[Value], overrides: Mapping[Symbolic, Array] | None = None
    ) -> list[Any]:
        """The arrays of ``values`` in float64, with some inputs elsewhere."""
        feeds = {**self.program.feeds, **self.added, **(overrides or {})}
        named = {str(i): value for i, value in enumerate(values)}
        return list(evaluate(Graph(named, inputs=list(feeds)), feeds, dtype="float64").values())

    def difference(self, value: Value, along: Mapping[Symbolic, Array]) -> float:
        """Compute the central difference of fourth order of a value along a direction."""

        def at(distance: float) -> float:
            feeds = self.program.feeds
            shifted = {x: feeds[x] + distance * self.step * v for x, v in along.items()}
            return float(self.values([value], shifted)[0])

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * self.step)

    def failure(
        self, value: Value, gradients: Sequence[Value], where: str, rule: float, difference: float
    ) -> CheckError:
        """Build the error of a wrong derivative, with the element that is farthest off."""
        return CheckError(
            f"the rules give a slope of {rule!r}, differences {difference!r} ({where})",
            details=[*self.farthest(value, gradients), *self.sample()],
            hint=""
            if np.isfinite(difference)
            else "the point is too near the border of the domain",
        )

    def farthest(self, value: Value, gradients: Sequence[Value]) -> list[str]:
        """Find the input element whose derivative is farthest from its difference quotient."""
        feeds, inputs = self.program.feeds, self.program.floating
        if sum(feeds[x].size for x in inputs) > _MOST_PROBES:
            return []
        lines = [(-1.0, "")]
        for x, slopes in zip(inputs, self.values(gradients), strict=True):
            for place in np.ndindex(*feeds[x].shape):
                unit = np.zeros(feeds[x].shape)
                unit[place] = 1.0
                difference = self.difference(value, {x: unit})
                error = abs(difference - float(slopes[place]))
                at = f"[{', '.join(map(str, place))}]" if place else ""
                text = f"by {_name(x)}{at} = {feeds[x][place]:.6g}: rule {slopes[place]:.9g},"
                text += f" difference {difference:.9g}"
                lines.append((np.inf if np.isnan(error) else error, text))
        return [max(lines)[1]]

    def sample(self) -> list[str]:
        """Return the point of the check, a line per input."""
        return [f"at {_name(x)} = {array_text(a)}" for x, a in self.program.feeds.items()]


def _name(value: Symbolic) -> str:
    return value.node.label


def _total(pairs: Any) -> Value:
    """Sum the products of gradients and directions in float64."""
    total: Any = None
    for left, right in pairs:
        term = functions.sum(left.astype(F64) * right)
        total = term if total is None else total + term
    summed: Value = total
    return summed


Operands = tuple[Array, ...]
Function = Callable[..., Any]
_DISTANCES: Final = (1e-6, 1e-8)  # at which one-sided slopes are taken
_STEP: Final = 2e-3  # of central differences
_AGREE: Final = 1e-7
_MOST_PLACES: Final = 64  # elements of one operand that are moved one by one
_LARGEST: Final = 1e6  # beyond, a distance is lost in the last places
#: Away from the usual kinks (whole numbers, halves) by more than twice the step, of both signs.
PROBES: Final = np.array(
    [0.31, -0.31, 0.73, -0.73, 1.13, -1.13, 1.87, -1.87, 3.29, -3.29, 8.71, -8.71, 0.06, -0.06]
)
#: Where functions have their kinks.
CORNERS: Final = np.array([-2.0, -1.5, -1.0, -0.5, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0])


def grid(axes: list[Array]) -> Operands:
    """Return every combination of the points of all axes, one array per axis."""
    return tuple(np.ascontiguousarray(a.ravel()) for a in np.meshgrid(*axes, indexing="ij"))


def smooth_points(function: Function, points: Operands) -> Operands:
    """Select points at which an elementwise function is smooth enough for differences."""
    keep = np.ones(points[0].shape, bool)

    def at_offset(position: int, step: float) -> Array:
        return _first(
            function, tuple(a + step if k == position else a for k, a in enumerate(points))
        )

    for position, array in enumerate(points):
        if array.dtype.kind == "f":
            keep &= _stable(partial(at_offset, position))
    return tuple(array[keep] for array in points)


def is_smooth(function: Function, operands: Operands, rng: np.random.Generator) -> bool:
    """Test whether all results are finite and smooth along a random direction."""
    along = [rng.uniform(-1, 1, a.shape) if a.dtype.kind == "f" else 0 for a in operands]

    def at(step: float) -> Array:
        shifted = [a + step * v if a.dtype.kind == "f" else a for a, v in zip(operands, along)]  # noqa: B905
        return _first(function, tuple(shifted))

    return bool(np.all(_stable(at)))


def _stable(at: Callable[[float], Array]) -> Array:
    """Test by two step widths whether difference quotients agree: the function is smooth."""
    with np.errstate(all="ignore"):
        center = at(0.0)
        if center.dtype.kind != "f":
            return np.zeros(center.shape, bool)
        wide, narrow = (
            (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h) for h in (_STEP, _STEP / 2)
        )
        near = np.abs(wide - narrow) <= _AGREE * (1 + np.abs(narrow))
        # Of smooth functions h**2 f'', of a kink in the middle proportional to h.
        bend, half = (at(h) + at(-h) - 2 * center for h in (_STEP, _STEP / 2))
        near &= np.abs(bend - 4 * half) <= _AGREE * (1 + np.abs(center) + np.abs(narrow))
        return np.asarray(near & np.isfinite(center) & np.isfinite(narrow))


def _first(function: Function, operands: Operands) -> Array:
    """The first result."""
    results = function(*operands)
    return np.asarray(results[0] if isinstance(results, tuple) else results)


def kinks(function: Function, operands: Operands) -> Iterator[str]:
    """Find elements of float64 operands at which a function has a kink."""
    positions = [p for p, array in enumerate(operands) if array.dtype == np.float64]
    if not positions:
        return
    with np.errstate(all="ignore"):
        center = np.ravel(_first(function, operands))
    if center.dtype != np.float64 or not np.isfinite(center).any():
        return
    for position in positions:
        array = operands[position]
        for place in list(np.ndindex(*array.shape))[:_MOST_PLACES]:
            if not np.isfinite(array[place]) or abs(array[place]) > _LARGEST:
                continue
            steps = [sign * distance for distance in _DISTANCES for sign in (1, -1)]
            slopes = [_slope(function, operands, center, position, place, step) for step in steps]
            if _differ(np.array(slopes)):
                yield f"operand {position + 1} at {float(array[place])!r}"


def _slope(
    function: Function,
    operands: Operands,
    center: Array,
    position: int,
    place: tuple[int, ...],
    step: float,
) -> float:
    """Estimate one-sided slopes of a function at an element, to find kinks."""
    shifted = list(operands)
    shifted[position] = shifted[position].copy()
    shifted[position][place] += step
    step = float(shifted[position][place] - operands[position][place])
    with np.errstate(all="ignore"):
        result = np.ravel(_first(function, tuple(shifted)))
        weights = np.cos(np.arange(center.size)) + 2.0
        return float(np.sum(((result - center) * weights)[np.isfinite(center)]) / step)


def _differ(slopes: Array) -> bool:
    """Test whether one-sided slopes (right, left, nearer right, nearer left) indicate a kink."""
    inside = slopes[np.isfinite(slopes)]
    if inside.size < slopes.size:
        return inside.size > 0 and bool(np.abs(inside[-1]) > 5 * np.abs(inside[0]) + 1e3)
    gaps = [abs(s[0] - s[1]) / (1 + np.abs(s).max()) for s in (slopes[:2], slopes[2:])]
    grows = np.abs(slopes[2:]).max() > 5 * np.abs(slopes[:2]).max() + 1e3
    return bool(min(gaps) > 1e-2 or grows)
