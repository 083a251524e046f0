"""``sg.function``: NumPy-style Python, traced at the first call and compiled.

The function is called with values of a graph in the place of arrays. Its graph is kept for calls of
the same signature: the same containers, element types, ranks and static arguments, and sizes that
the graph takes (``sizes.py``). Parameters that it reads are those of the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from math import inf
from threading import RLock
from types import MethodType
from typing import Any, overload

from staticgrad.compiler import Compiled, compile as compile_graph
from staticgrad.errors import (
    ArgumentError,
    GraphError,
    SizeGuardError,
    StaticgradError,
    StaticgradWarning,
    SymbolicValueError,
    warn,
)
from staticgrad.errors.wording import kind_of, shown
from staticgrad.functions.creation import input as graph_input
from staticgrad.functions.trees import Tree, flatten, paths, unflatten
from staticgrad.ir.graph import Graph, Parameter, Symbolic
from staticgrad.ir.schedule import Schedule
from staticgrad.programs.arguments import Given, bound_to, is_value
from staticgrad.programs.sizes import Spec, fits, shapes_of, spec_of
from staticgrad.records import dataclass

#: Traces that differ in static arguments alone, from which on a warning says so.
_MANY_STATIC = 8
_STATIC_HINT = (
    "in a traced function arrays have no numbers yet; an argument that is a Python number, bool or"
    " string is static, and so are those named in static=(...)"
)


@dataclass(frozen=True)
class TraceStats:
    """What a traced function has cost so far: ``reasons`` says why for each trace."""

    traces: int
    calls: int
    reasons: tuple[str, ...]


class _Traced:
    """One graph of a function: what it takes, and where its results go."""

    def __init__(self, spec: Spec, graph: Graph | None, leaves: list[Any], tree: Tree) -> None:
        self.spec, self.graph, self._leaves, self._tree = spec, graph, leaves, tree
        self._names = {value.node.label for value in graph.inputs} if graph else set()
        self.compiled: Compiled | None = None

    def run(self, arrays: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """The results, in their containers."""
        if self.graph is None:
            return unflatten(self._tree, self._leaves)
        if self.compiled is None:
            self.compiled = compile_graph(self.graph, **options)
        feeds = {name: array for name, array in arrays.items() if name in self._names}
        found = self.compiled.run(feeds)
        leaves = [found[leaf.name] if isinstance(leaf, _Out) else leaf for leaf in self._leaves]
        return unflatten(self._tree, leaves)


@dataclass(frozen=True)
class _Out:
    """A result that the graph gives, by its name there."""

    name: str


class _Signature:
    """The graphs of one signature, and the sizes with which it was called."""

    def __init__(self) -> None:
        self.graphs: list[_Traced] = []
        self.seen: list[tuple[int, ...]] = []
        self.is_literal = False  # the function refused named sizes


class Function:
    """A function of arrays that runs compiled; ``sg.function`` makes it."""

    def __init__(
        self,
        function: Callable[..., Any],
        static: tuple[str, ...],
        sizes: Mapping[str, Sequence[str | None]],
        options: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        self._name: str = getattr(function, "__qualname__", repr(function))
        self._function, self._static, self._options = function, static, dict(options)
        self._said = {name: tuple(names) for name, names in sizes.items()}
        self._signatures: dict[Any, _Signature] = {}
        self._kept: list[Any] = []  # static arguments that are compared by identity
        self._made: list[Parameter] = []
        self._reasons: list[str] = []
        self._calls = 0
        self._lock = RLock()

    def __get__(self, owner: Any, _kind: Any = None) -> Any:
        """As a method: the object that has it is its first argument."""
        return self if owner is None else MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results for arrays, as arrays. Of values and tensors it is the plain function.

        Raises:
            ArgumentError: arguments that the function does not take, or that have no hash.
        """
        bound = bound_to(self._function, args, kwargs)
        if any(is_value(leaf) for leaf in flatten(dict(bound.arguments))[0]):
            return self._function(*args, **kwargs)
        with self._lock:
            given = Given(bound.signature, bound, self._static)
            self._calls += 1
            traced = self._traced(given)
        return traced.run(given.arrays, self._options)

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The graph that a call with these arguments runs.

        Raises:
            GraphError: the results depend on no array and on no parameter.
        """
        found = self._of(args, kwargs)[0].graph
        if found is None:
            raise GraphError(f"{self._name}: there is nothing to compute")
        return found

    def compile(self, *args: Any, **kwargs: Any) -> Compiled:
        """The compiled program that a call with these arguments runs: its feeds are the arrays.

        Raises:
            GraphError: as ``graph``.
        """
        graph = self.graph(*args, **kwargs)
        traced, _ = self._of(args, kwargs)
        if traced.compiled is None:
            traced.compiled = compile_graph(graph, **self._options)
        return traced.compiled

    def lower(self, *args: Any, **kwargs: Any) -> Schedule:
        """The schedule of that program: which kernels it runs.

        Raises:
            GraphError: as ``graph``.
        """
        return self.compile(*args, **kwargs).schedule

    @property
    def stats(self) -> TraceStats:
        """How often it was traced, and why."""
        return TraceStats(len(self._reasons), self._calls, tuple(self._reasons))

    def __repr__(self) -> str:
        return f"<sg.function {self._name}, traced {len(self._reasons)} times>"

    # -- tracing ----------------------------------------------------------------------------------

    def _of(self, args: Any, kwargs: Any) -> tuple[_Traced, Given]:
        bound = bound_to(self._function, args, kwargs)
        with self._lock:
            given = Given(bound.signature, bound, self._static)
            return self._traced(given), given

    def _traced(self, given: Given) -> _Traced:
        """A graph that takes these arguments: one that is known, or a new one."""
        known = self._signatures.get(given.key)
        signature = known or _Signature()
        for each in signature.graphs:
            if fits(each.spec, given.sizes):
                return each
        seen = [given.sizes] if signature.is_literal else [*signature.seen, given.sizes]
        labels, said = self._labels(given)
        spec = spec_of(seen, labels, said)
        reason = f"{self._shapes(given, given.sizes)}: " + self._reason(spec, known is not None)
        try:
            found = self._trace(given, spec)
        except Exception as error:
            literal = tuple(said.get(k, size) for k, size in enumerate(given.sizes))
            if literal == spec:
                raise
            found = self._trace(given, literal)  # its error, if it has one, names plain sizes
            reason += f", which it refuses: {getattr(error, 'headline', error)}"
            signature.is_literal = True
        signature.graphs.append(found)
        signature.seen = seen
        self._signatures[given.key] = signature
        self._kept.extend(given.statics.values())
        self._reasons.append(reason)
        if known is None and len(self._signatures) == _MANY_STATIC and given.statics:
            self._warn(given)
        return found

    def _labels(self, given: Given) -> tuple[list[str], dict[int, str]]:
        """The name of each axis where its size has one, and those that the user gave."""
        labels: list[str] = []
        said: dict[int, str] = {}
        unknown = self._said.keys() - given.arrays.keys()
        if unknown:
            raise ArgumentError(
                f"{self._name}: sizes names {shown(min(unknown))}, which is no array here",
                hint=f"the arrays are {', '.join(given.arrays) or 'none'}",
            )
        for name, shape in zip(given.arrays, given.shapes, strict=True):
            names = self._said.get(name, (None,) * len(shape))
            if len(names) != len(shape):
                raise ArgumentError(
                    f"{self._name}: sizes has {len(names)} entries for {name}, which has"
                    f" {len(shape)} axes"
                )
            for axis, own in enumerate(names):
                if own is not None:
                    said[len(labels)] = own
                labels.append(f"{name}.{axis}")
        return labels, said

    def _trace(self, given: Given, spec: Spec) -> _Traced:
        """The graph of the function over arguments of these sizes.

        Raises:
            GraphError: it makes parameters anew, whose values would begin again.
        """
        shapes = shapes_of(spec, [len(shape) for shape in given.shapes])
        inputs = [
            graph_input(name, shape, dtype)
            for name, shape, dtype in zip(given.arrays, shapes, given.dtypes, strict=True)
        ]
        try:
            found = given.called(self._function, inputs)
        except SymbolicValueError as error:
            error.hint = f"{error.hint}\n{_STATIC_HINT}" if error.hint else _STATIC_HINT
            raise
        except Exception as error:
            if not isinstance(error, StaticgradError):
                error.add_note(f"while sg.function traced {self._name}")
            raise
        traced = self._program(found, spec)
        _check_guards(traced, given)
        first = inputs[0].node.serial if inputs else inf  # type: ignore[attr-defined]
        updates = traced.graph.updates if traced.graph else ()
        made = [parameter for parameter, _ in updates if parameter.node.serial > first]
        if made and self._made:
            raise GraphError(
                f"{self._name} makes the parameter {made[0].name!r} when it is traced: in"
                " another trace its values would begin again",
                hint="make it outside of the function, or name the sizes that differ at first:"
                ' sg.function(sizes={"x": ("batch", None)})',
            )
        self._made += made
        return traced

    def _program(self, found: Any, spec: Spec) -> _Traced:
        """What the function gave, as a graph and what comes of it."""
        if isinstance(found, Graph):
            names = [*found.outputs]
            outs: Any = {name: _Out(name) for name in names}
            leaves, tree = flatten(outs["output"] if names == ["output"] else outs)
            return _Traced(spec, found, leaves, tree)
        leaves, tree = flatten(found)
        named = zip(paths(tree, "result"), leaves, strict=True)
        outputs = {name: leaf for name, leaf in named if isinstance(leaf, Symbolic)}
        kept = [
            _Out(name) if isinstance(leaf, Symbolic) else leaf
            for name, leaf in zip(paths(tree, "result"), leaves, strict=True)
        ]
        graph = Graph(outputs, name=self._name.rpartition(".")[2]) if outputs else None
        return _Traced(spec, graph, kept, tree)

    # -- words ------------------------------------------------------------------------------------

    def _shapes(self, given: Given, spec: Spec) -> str:
        shapes = shapes_of(spec, [len(shape) for shape in given.shapes])
        return ", ".join(
            f"{name}: {dtype.name}[{', '.join(map(str, shape))}]"
            for name, dtype, shape in zip(given.arrays, given.dtypes, shapes, strict=True)
        )

    def _reason(self, spec: Spec, known: bool) -> str:
        names = sorted({size for size in spec if isinstance(size, str)})
        if known:
            return f"other sizes, now named {', '.join(names)}"
        return "other types or static arguments" if self._signatures else "the first call"

    def _warn(self, given: Given) -> None:
        static = ", ".join(f"{name}={shown(value)}" for name, value in given.statics.items())
        warn(
            StaticgradWarning,
            f"{self._name} was traced for {_MANY_STATIC} signatures, of which this one has the"
            f" static arguments {static}: a number that changes from call to call is an array,"
            " np.float64(number)",
        )


def _check_guards(traced: _Traced, given: Given) -> None:
    """Refuse a graph whose named sizes are not those of the call.

    Raises:
        SizeGuardError: with what must agree.
    """
    named = zip(traced.spec, given.sizes, strict=True)
    values = {name: size for name, size in named if isinstance(name, str)}
    for guard, node in traced.graph.guards if traced.graph and values else ():
        if not guard.holds(values):
            raise SizeGuardError(guard.text, at=node.origin)


@overload
def function(
    f: Callable[..., Any],
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Function: ...
@overload
def function(
    f: None = None,
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Function]: ...
def function(
    f: Any = None,
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Any:
    """Let a Python function of arrays run compiled: a decorator.

    At the first call it runs once with values of a graph in the place of its arrays, and the graph
    is compiled; further calls run that program. Arrays in dicts, lists and tuples are inputs, named
    by where they stand (``batch.image``). All else (numbers, strings, bools, None, functions) is
    static: another value is another program. NumPy scalars are arrays. Sizes are literal at first;
    an axis that comes with a second size is named from then on, together with those that changed
    with it, so that further sizes compile nothing.

    Parameters and generators that the function reads are those of the graph, at their values of
    each run; arrays that it reads otherwise are constants, as they were when it was traced. Side
    effects of Python happen when it is traced. With values of a graph or tensors for arguments it
    is the plain function, so that one may call another and be differentiated.

    Args:
        f: takes and returns arrays in containers; or returns ``sg.Graph(outputs, updates)``, whose
            updates then happen at each call: the results are its outputs.
        static: names of arguments that are static whatever they hold; they need a hash.
        sizes: the names of sizes by input, so that they are named from the first call on:
            ``{"x": ("batch", None)}``.
        options: those of ``sg.compile``.

    Returns:
        The function. Its ``graph``, ``lower`` and ``compile`` take the same arguments, and give the
        graph, the schedule and the compiled program of that call; ``stats`` says what it cost.

    Raises:
        ArgumentError: no function.

    >>> import numpy as np
    >>> @function
    ... def step(x, power):
    ...     return {"y": (x**power).sum(axis=1)}
    >>> step(np.array([[1.0, 2.0]]), 2)
    {'y': array([5.])}
    >>> step(np.ones((3, 2)), 2), step(np.ones((4, 2)), 2), step.stats.traces
    ({'y': array([2., 2., 2.])}, {'y': array([2., 2., 2., 2.])}, 2)
    """
    if f is None:
        return functools.partial(function, static=static, sizes=sizes, **options)
    if not callable(f):
        raise ArgumentError(
            f"function: f is {kind_of(f)}, not a function", hint="@sg.function above def step(x)"
        )
    names = (static,) if isinstance(static, str) else tuple(static)
    return Function(f, names, sizes or {}, options)
