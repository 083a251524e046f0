"""Compiled programs of a function of arrays and of its gradient, as other libraries call them.

A library that differentiates by its own tape calls ``forward``, keeps what it gives, and later
calls ``backward`` with cotangents. Both are compiled once for each signature.

    forward(arrays)                     results, saved
    backward(arrays, saved, cotangents) gradients
    pullback(arrays, cotangents)        gradients; the function is computed once more
    pushforward(arrays, tangents)       tangents of the results

For one result without axes, as a loss, ``saved`` are the gradients: one program computes both. For
other results ``saved`` are the results of products, reductions, loops and other ops that the
gradient reads; elementwise ops and movements are computed again, which costs less than memory.

Python numbers are arguments of the programs as they are of ``sg.function``: a number that comes
with a second value, and that only arithmetic uses, is an input from then on.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Argument, Signature
from types import MappingProxyType, MethodType
from typing import Any, Final, NamedTuple

from staticgrad.bridges.operands import value_of_argument
from staticgrad.errors import ArgumentError
from staticgrad.extend import Size, Symbolic, ancestors, gradients, kind_of, quote
from staticgrad.extend.building import Session, in_graphs, running_session, traced_in
from staticgrad.extend.functions import input as graph_input
from staticgrad.extend.ops import astype, conj
from staticgrad.extend.parameters import Complex, join_parts
from staticgrad.extend.programs import (
    Arithmetic,
    Function,
    NodeCopies,
    Number,
    is_number,
    next_steps,
    reduce_wrapper,
    signature_of,
    static_key,
)
from staticgrad.extend.sizes import Guard, collecting_guards
from staticgrad.extend.trees import Tree, flatten, paths, unflatten
from staticgrad.programs.transformed import vmap


class ResultTypes(NamedTuple):
    """The types of results of a function.

    Attributes:
        values: the results, as values.
        tree: their containers.
        guards: what holds of named sizes.
    """

    values: list[Any]
    tree: Tree
    guards: list[Guard]


class Programs:
    """A function that takes ``count`` arrays and gives values in containers, and its gradients.

    Attributes:
        numbers: the Python numbers that it is called with, by name.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        name: str,
        count: int,
        conjugate: bool = False,
        numbers: Mapping[str, Number] = MappingProxyType({}),
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._f, self.name, self.count, self._conjugate = f, name, count, conjugate
        self.numbers, self._options = numbers, options
        self._programs_by_kind: dict[Any, Programs] = {}
        self._types: dict[Any, ResultTypes] = {}

        names = tuple(numbers)

        def call(*args: Any) -> Any:
            return self.values(*args[len(names) :], **dict(zip(names, args, strict=False)))

        call.__name__ = call.__qualname__ = name
        first = [Argument(name, Argument.POSITIONAL_ONLY) for name in names]
        arrays = Argument("arrays", Argument.VAR_POSITIONAL)
        call.__signature__ = Signature([*first, arrays])  # type: ignore[attr-defined]
        self._key = ""
        self._run: Function[..., Any] = Function(call, (), {}, options)

    def with_numbers(self, numbers: Mapping[str, Number]) -> Programs:
        """Return these programs for other values of the numbers; what is compiled is shared."""
        if numbers == self.numbers and 0.0 not in numbers.values():  # which equals -0.0
            return self
        programs = object.__new__(Programs)
        programs.__dict__.update(self.__dict__, numbers=numbers, _key="")
        return programs

    def run(self, *arrays: Any) -> Any:
        """Run the program for these arrays, compiled."""
        return self._run(*self.numbers.values(), *arrays)

    @property
    def of_function(self) -> Function[..., Any]:
        """The function that runs them: of the numbers, then of the arrays."""
        return self._run

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that they are compiled with."""
        return self._options

    @property
    def key(self) -> str:
        """The key by which ``find_programs`` finds these programs, in this process."""
        if not self._key:
            self._key = f"{self.name}:{len(_BY_KEY)}"
            _BY_KEY[self._key] = self
        return self._key

    def values(self, /, *arrays: Any, **numbers: Any) -> Any:
        """Call a function of another library with graph values in place of arrays and numbers.

        Raises:
            ArgumentError: it updates parameters, or draws random numbers.
        """
        leaves, tree = flatten(self._f(*arrays, **(numbers or self.numbers)), keep_complex=True)
        results = unflatten(tree, [*map(value_of_argument, leaves)])
        session = running_session()
        read = ancestors(flatten(results)[0])
        if (session and session.updates) or next_steps(read):
            raise ArgumentError(
                f"{self.name} updates parameters or draws random numbers: a library that calls it"
                " more or less often than once a step would change its results",
                hint="model.eval(); or state and random numbers as arguments and results",
            )
        return results

    def forward(self, wrt: tuple[int, ...]) -> Programs:
        """Return the forward program for PyTorch and JAX: results, and residuals."""

        def forward(*arrays: Any, **numbers: Any) -> Any:
            results, saved, _, _ = self._joint(wrt, arrays, numbers)
            return results, saved

        return self._once("forward", forward, self.count, wrt)

    def backward(self, wrt: tuple[int, ...], count: int) -> Programs:
        """Return the backward program: gradients from the arrays, residuals and cotangents."""

        def backward(*arguments: Any, **numbers: Any) -> list[Any]:
            """Compute gradients of a bridged function from residuals and cotangents."""
            _, saved, cotangents, slopes = self._joint(wrt, arguments[: self.count], numbers)
            values = [join_parts(value) for value in (*saved, *cotangents)]
            replacements = [
                astype(join_parts(argument), value.dtype)
                for value, argument in zip(values, arguments[self.count :], strict=True)
            ]
            pairs = zip(values, replacements, strict=True)
            leaves, tree = flatten(slopes)
            over = NodeCopies({value.key: new for value, new in pairs}).apply(leaves)
            gradients: list[Any] = unflatten(tree, over)
            return gradients

        return self._once("backward", backward, count, wrt)

    def pullback(self, wrt: tuple[int, ...], count: int) -> Programs:
        """Return the program of gradients that recomputes residuals, to be differentiated again."""

        def pullback(*operands: Any, **numbers: Any) -> list[Any]:
            arrays, cotangents = operands[: self.count], operands[self.count :]
            results, chosen = self.values(*arrays, **numbers), [arrays[place] for place in wrt]
            return self._pull_back(floating(results), chosen, cotangents)

        return self._once("pullback", pullback, count, wrt)

    def pushforward(self, wrt: tuple[int, ...]) -> Programs:
        """Return the forward-mode program: tangents of the floating results."""

        def pushforward(*operands: Any, **numbers: Any) -> list[Any]:
            arrays, tangents = operands[: self.count], operands[self.count :]
            results, chosen = self.values(*arrays, **numbers), [arrays[place] for place in wrt]
            along = [astype(t, x.dtype) for t, x in zip(tangents, chosen, strict=True)]
            return list(gradients.jvp(floating(results), chosen, along, True))

        return self._once("pushforward", pushforward, self.count + len(wrt), wrt)

    def map_batches(self, axes: tuple[tuple[int | None, ...], ...]) -> Programs:
        """Return the program under ``vmap``: ``in_axes`` of each batch axis, the outer first."""

        def run_mapped(*arrays: Any, **numbers: Any) -> Any:
            f: Callable[..., Any] = functools.partial(self.values, **numbers)
            for in_axes in reversed(axes):
                f = vmap(f, in_axes)
            return f(*arrays)

        return self._once("mapped", run_mapped, self.count, axes)

    def types(self, kinds: tuple[tuple[tuple[Size, ...], Any], ...]) -> ResultTypes:
        """Infer result types of a bridged function for arrays of these shapes and dtypes."""
        alike = kinds, tuple(map(type, self.numbers.values()))
        exactly = kinds, tuple([static_key(*pair) for pair in self.numbers.items()])
        for key in (alike, exactly):
            if key in self._types:
                return self._types[key]
        try:
            numbers = Arithmetic(self.numbers, ()).call_numbers
            result_types = self._types[alike] = self._trace_types(kinds, numbers)
        except Exception:
            if not self.numbers:
                raise
            result_types = self._types[exactly] = self._trace_types(
                kinds, self.numbers
            )  # it needs them now
        return result_types

    def _trace_types(self, kinds: Any, numbers: Mapping[str, Any]) -> ResultTypes:
        with traced_in(Session()), in_graphs(), collecting_guards() as guards:
            inputs = [graph_input(f"x{k}", *kind) for k, kind in enumerate(kinds)]
            values, tree = flatten(self.values(*inputs, **numbers), keep_complex=True)
        return ResultTypes(values, tree, guards)

    def _joint(
        self, wrt: tuple[int, ...], arrays: Sequence[Any], numbers: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """Trace results, residuals, cotangents and gradients of a bridged function together."""
        arrays = [_store_complex(array) for array in arrays]
        results, chosen = self.values(*arrays, **numbers), [arrays[place] for place in wrt]
        floats = floating(results)
        cotangents = [
            graph_input(f"cotangent{place}", value.shape, value.dtype)
            for place, value in enumerate(floats)
        ]
        if len(floats) == 1 and isinstance(floats[0], Symbolic) and not floats[0].shape:
            (ct,) = cotangents
            saved, tree = flatten(
                self._switch_convention(gradients.grad(floats[0], chosen, None, True))
            )
            slopes = unflatten(tree, [slope * ct.astype(slope.dtype) for slope in saved])
        else:
            slopes = self._pull_back(floats, chosen, cotangents)
            saved = _saved_values(flatten(slopes)[0], list(map(join_parts, cotangents)), arrays)
        return results, saved, cotangents, slopes

    def _pull_back(
        self, ys: Sequence[Any], by: Sequence[Any], cotangents: Sequence[Any]
    ) -> list[Any]:
        """Pull cotangents of the other library back to gradients of the other library."""
        return self._switch_convention(
            gradients.vjp(list(ys), list(by), self._switch_convention(cotangents), True)
        )

    def _switch_convention(self, slopes: Sequence[Any]) -> list[Any]:
        """Turn derivatives from this library's convention to the other's, or back."""
        return [conj(slope) for slope in slopes] if self._conjugate else list(slopes)

    def _once(self, kind: str, f: Callable[..., Any], count: int, wrt: Any) -> Programs:
        key = kind, wrt, count
        if key not in self._programs_by_kind:
            name = f"{self.name}.{kind}"
            settings = self._conjugate, self.numbers, self._options
            self._programs_by_kind[key] = Programs(f, name, count, *settings)
        return self._programs_by_kind[key].with_numbers(self.numbers)


_BY_KEY: Final[dict[str, Programs]] = {}


def find_programs(key: str) -> Programs:
    """Return the programs that have this key.

    Raises:
        ArgumentError: they are another process's.
    """
    if key not in _BY_KEY:
        raise ArgumentError(
            f"{key.partition(':')[0]}: a graph of another process calls this function",
            hint="export the graph again where the function is made",
        )
    return _BY_KEY[key]


class Bridged:
    """A function of arrays as one of another library, which travels as what it was made of."""

    __wrapped__: Callable[..., Any]

    def __init__(
        self, make: Callable[..., Any], f: Callable[..., Any], run: Callable[..., Any]
    ) -> None:
        """Wrap ``f``, of which the public function ``make`` makes this again; ``run`` calls it."""
        functools.update_wrapper(self, f, updated=())
        self._make, self._run = make, run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results, as arrays of the other library."""
        return self._run(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The method, where it stands in a class."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        name = getattr(self.__wrapped__, "__qualname__", "")
        return reduce_wrapper(self, name, (self._make, (self.__wrapped__,)))

    def __repr__(self) -> str:
        return f"<{self._make.__module__.rpartition('.')[2]}.function {self.__wrapped__!r}>"


def caller(
    api: str,
    f: Callable[..., Any],
    is_array: Callable[[Any], bool],
    call: Callable[[Programs, list[Any]], Any],
    conjugate: bool = False,
    plain: Callable[[Any], Any] = lambda leaf: leaf,
) -> Callable[..., Any]:
    """Return what calls ``f`` on another library's arrays in containers, by compiled programs.

    Python numbers are those of the programs; everything else in its arguments is static: ``call``
    is given the programs of the function for these containers and static arguments, and the arrays.
    ``conjugate``: the library's derivatives by complex numbers are the conjugates of those here.
    ``plain`` returns the Python number that an argument of the library stands for, or refuses it.
    """
    if not callable(f):
        raise ArgumentError(f"{api}: f is {kind_of(f)}, not a function")
    name = name_of(f)
    layouts: dict[Tree, _Layout] = {}
    #: Of calls with nothing but arrays and numbers, by their kinds, with the names of numbers.
    direct: dict[tuple[Any, ...], tuple[Programs, tuple[str, ...]]] = {}

    def run_bridged(*args: Any, **kwargs: Any) -> Any:
        """Call a function on arrays of PyTorch or JAX; repeated calls skip the search."""
        kinds = tuple([_plain_kind(argument, is_array) for argument in args])
        repeated_call = None if kwargs else direct.get(kinds)
        if repeated_call is not None:
            repeated, names = repeated_call
            if not names:
                return call(repeated, list(args))
            pairs = [*zip(args, kinds, strict=True)]
            values = [number for number, kind in pairs if kind is not _ARRAY]
            repeated_arrays = [array for array, kind in pairs if kind is _ARRAY]
            return call(
                repeated.with_numbers(dict(zip(names, values, strict=True))), repeated_arrays
            )
        leaves, tree = flatten((args, kwargs))
        layout = layouts.get(tree)
        if layout is None:
            layout = layouts[tree] = _Layout(f, tree)
        arrays: list[Any] = []
        numbers: dict[str, Number] = {}
        key: list[Any] = []
        for place, leaf in enumerate(leaves):
            if is_array(leaf):
                arrays.append(leaf)
                key.append(_ARRAY)
            elif is_number(leaf := plain(leaf)) and place not in layout.static:
                numbers[layout.names[place]] = leaf
                key.append(type(leaf))
            else:
                try:
                    key.append(static_key("", leaf))
                except TypeError:
                    raise ArgumentError(
                        f"{name}: arguments that are not arrays are static and must be hashable:"
                        f" {layout.names[place]} is {quote(leaf)}, {kind_of(leaf)}"
                    ) from None
        kind = tuple(key)
        programs = layout.programs.get(kind)
        if programs is None:
            called = _of_arrays(f, tree, leaves, [*map(is_array, leaves)], layout.names)
            options = f._options if isinstance(f, Function) else {}
            programs = Programs(called, name, len(arrays), conjugate, numbers, options)
            layout.programs[kind] = programs
            if not kwargs and kind == kinds:
                direct[kinds] = programs, tuple(numbers)
        return call(programs.with_numbers(numbers) if numbers else programs, arrays)

    return run_bridged


def name_of(f: Any) -> str:
    """Return the name of a function, or of the class of an object that is called."""
    return str(getattr(f, "__name__", type(f).__name__))


#: What stands for an array in the key of a call.
_ARRAY: Final = object()


def _plain_kind(argument: Any, is_array: Callable[[Any], bool]) -> Any:
    """Return what stands for an array or number in the key of a call; None of other arguments."""
    if is_array(argument):
        return _ARRAY
    return type(argument) if is_number(argument) else None


class _Layout:
    """The arguments of calls with the same containers.

    Attributes:
        names: of each leaf, an identifier.
        static: the places of numbers that ``sg.function(f, static=...)`` says are static.
        programs: by the kinds of the leaves, and by what is static.
    """

    def __init__(self, f: Callable[..., Any], tree: Tree) -> None:
        args, kwargs = unflatten(tree, range(tree.count))
        arguments = {"args": args, **kwargs}
        try:
            takes = signature_of(f)
        except (TypeError, ValueError):  # functions of C have none
            takes = None
        if takes is not None:
            try:
                arguments = dict(takes.bind(*args, **kwargs).arguments)
            except TypeError as error:
                raise ArgumentError(f"{name_of(f)}{takes}: {error}") from None
        static = f._static if isinstance(f, Function) else ()
        self.programs: dict[Any, Programs] = {}
        self.static: set[int] = set()
        names = [""] * tree.count
        used = {"arrays", "self"}
        for name, argument in arguments.items():
            places, containers = flatten(argument)
            for place, path in zip(places, paths(containers, name), strict=True):
                label = plain = re.sub(r"\W+", "_", path).strip("_")
                while label in used:
                    label = f"{plain}_{len(used)}"
                used.add(label)
                names[place] = label
                if name in static:
                    self.static.add(place)
        self.names = tuple(names)


def _of_arrays(
    f: Callable[..., Any],
    tree: Tree,
    leaves: Sequence[Any],
    are_arrays: Sequence[bool],
    names: Sequence[str],
) -> Callable[..., Any]:
    """Write windows as an ONNX MaxPool, or as AveragePool times the number of taps."""
    static = [None if is_one else leaf for leaf, is_one in zip(leaves, are_arrays, strict=True)]

    def of_arrays(*arrays: Any, **numbers: Any) -> Any:
        """Call the function with its arrays and numbers put back into containers."""
        remaining = iter(arrays)
        filled = [
            next(remaining) if is_one else numbers.get(name, leaf)
            for leaf, is_one, name in zip(static, are_arrays, names, strict=True)
        ]
        args, named = unflatten(tree, filled)
        return f(*args, **named)

    return of_arrays


def floating(results: Any) -> list[Any]:
    """Return the differentiable values in containers, in order: those that have cotangents."""
    return [leaf for leaf in flatten(results, keep_complex=True)[0] if leaf.dtype.is_float]


def _store_complex(array: Any) -> Any:
    """Return a complex argument as parts of one value, so that each trace saves the same values."""
    return array.of(join_parts(array)) if isinstance(array, Complex) else array


def _saved_values(
    slopes: Sequence[Any], cotangents: Sequence[Any], arrays: Sequence[Any]
) -> list[Symbolic]:
    """Find the residuals: values that gradients read besides cotangents and arguments."""
    nodes = sorted(ancestors([*slopes, *cotangents]), key=lambda node: node.serial)
    downstream = {value.node for value in cotangents}
    for node in nodes:
        if any(value.node in downstream for value in node.args):
            downstream.add(node)
    pending = [value for node in nodes if node in downstream for value in node.args]
    pending += slopes
    saved: dict[Any, Symbolic] = {}
    seen = {value.key for value in (*flatten(arrays)[0], *map(join_parts, arrays))}
    while pending:
        value = pending.pop()
        if value.node in downstream or value.key in seen:
            continue
        seen.add(value.key)
        if value.node.op.elementwise or value.node.op.copies:
            pending += value.node.args
        elif value.node.args:
            saved[value.key] = value
    return list(saved.values())
