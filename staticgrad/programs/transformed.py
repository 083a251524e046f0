"""Functions made from functions by a rule over values: ``sg.grad(f)``, ``vmap(f)`` and others.

Called with values of a graph, or inside a function that is traced, the rule builds more of that
graph. Called with tensors it uses the tape. Called with arrays it is traced and compiled, as under
``sg.function``, and its programs are cached with the function that it was made from. ``vmap`` maps
a function of single elements over batches of them.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Signature, signature
from operator import index
from types import FunctionType
from typing import Any, Final, overload
from weakref import ref

import numpy as np

from staticgrad.autodiff import forward, jacobian as of_values, reverse
from staticgrad.autodiff.jacobian import Direction
from staticgrad.errors import ArgumentError, GradientError
from staticgrad.errors.tracebacks import boundary, called_as, called_name
from staticgrad.errors.wording import kind_of, quote
from staticgrad.functions.batching import over_elements
from staticgrad.functions.call_types import (
    Gradient,
    OfArrays,
    OfValue,
    P,
    R,
    ValueAndGradient,
)
from staticgrad.functions.operand_kinds import TensorMet, by_all_operands, tensors_met
from staticgrad.language.calls.execution import (
    as_graph_value,
    computing,
    computing_kind,
    is_holding,
)
from staticgrad.language.calls.pickling import reduce_wrapper
from staticgrad.language.ir.graph import Parameter, Symbolic
from staticgrad.language.ir.kinds import binding_kind, of_kind
from staticgrad.language.ir.nodes import running_session
from staticgrad.language.ir.pairs import Complex
from staticgrad.language.ir.python_numbers import PythonNumber
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import apart
from staticgrad.language.ops.operands import as_value
from staticgrad.language.trees import (
    BothParts,
    check_real,
    flatten,
    map_leaves,
    match_leaves,
    pairs_in,
    paths,
    unflatten,
    with_complex_values,
)
from staticgrad.language.types.dim import Dim
from staticgrad.programs.arguments import (
    TELLS_NAMES,
    is_value,
    signature_of,
    tells_names,
    without_defaults,
)
from staticgrad.programs.function import Function, function

AnyFunction = Callable[..., Any]
#: A rule: what a function gives at arguments; True: these are inputs that nothing else reads.
Rule = Callable[[tuple[Any, ...], dict[str, Any], bool], Any]


class Transformed:
    """A function made of another one; ``program`` is what calls with arrays run."""

    __signature__: Signature | None  # set where it is not that of the other one

    def __init__(self, f: Any, name: str, rule: Rule, places: tuple[int, ...] = ()) -> None:
        """Wrap ``f`` by a rule; at ``places`` Python numbers are arrays."""
        functools.update_wrapper(self, f, updated=())
        if isinstance(f, np.ufunc):
            self.__signature__ = signature_of(f)
        function_name = getattr(f, "__name__", "function")
        self.__name__ = self.__qualname__ = f"{name}({function_name})"
        self._name, self._rule, self._places = name, rule, places
        if tells_names(f):
            vars(self)[TELLS_NAMES] = True

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results, of the kind of the arguments and of what the function closes over."""
        if "program" in vars(self) and computing_kind() is None:
            ran = self.program.repeat(args, kwargs)
            if ran is not None:
                return ran[0]
        if runs_directly(args, kwargs) or (self._name == "vmap" and are_parameters(args, kwargs)):
            return called_as(self._name, self._rule, args, kwargs, False)
        arguments = [
            map_leaves(as_array, argument) if place in self._places else argument
            for place, argument in enumerate(args)
        ]
        try:
            return self.program(*arguments, **kwargs)
        except TensorMet as error:
            with computing(error.kind):
                return called_as(self._name, self._rule, args, kwargs, False)

    @functools.cached_property
    def program(self) -> Function[..., Any]:
        """Return the traced function behind a transformed one, created at the first call."""

        def direct(*args: Any, **kwargs: Any) -> Any:
            with tensors_met():
                return called_as(self._name, self._rule, args, kwargs, True)

        functools.update_wrapper(direct, self, updated=())
        vars(direct)[TELLS_NAMES] = tells_names(self)
        return Function(direct, (), {}, {})

    def __reduce__(self) -> Any:
        qualname = getattr(vars(self).get("__wrapped__"), "__qualname__", "")
        state = {name: attribute for name, attribute in vars(self).items() if name != "program"}
        return reduce_wrapper(self, qualname, (copyreg.__newobj__, (Transformed,), state))  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<{self.__qualname__}>"


def runs_directly(*arguments: Any) -> bool:
    """Return whether a call with these arguments runs by its rule, uncompiled.

    That is the case for values, while a function is traced, and in ``eager_mode``, where arrays are
    tensors.
    """
    if running_session() is not None or computing_kind() is not None:
        return True
    return any(map(is_value, flatten(arguments)[0]))


def are_parameters(*arguments: Any) -> bool:
    """Return whether all arguments are parameters: what is mapped over them is of their graph.

    Beside arrays they count as closed over, and have their present values.
    """
    leaves = flatten(arguments)[0]
    return bool(leaves) and all(isinstance(leaf, Parameter) for leaf in leaves)


def as_array(leaf: Any) -> Any:
    """A Python number as the array that it is; anything else as it is."""
    return np.asarray(leaf) if isinstance(leaf, complex | float | int) else leaf


# -- programs are kept with their function --------------------------------------------------------


class _Programs:
    """The programs made of one function. Copies of its attributes, as by ``wraps``, are empty."""

    def __init__(self, owner: Any) -> None:
        self.owner = ref(owner)
        self.by_key: dict[Hashable, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, ())  # a function that travels leaves its programs behind


_KEPT: Final = "__staticgrad_made__"


def made_once(f: Any, key: Hashable, make: Callable[[], Any]) -> Any:
    """Cache the result of ``make`` on a function, if it allows attributes."""
    if not isinstance(f, FunctionType):
        return make()
    programs = vars(f).get(_KEPT)
    if not isinstance(programs, _Programs) or programs.owner() is not f:
        programs = _Programs(f)
        setattr(f, _KEPT, programs)
    if key not in programs.by_key:
        programs.by_key[key] = make()
    return programs.by_key[key]


# -- where a function is differentiated -----------------------------------------------------------


def places_of(by: Any) -> tuple[int, ...] | None:
    """Return the argument positions that ``by`` names; None if it names parameters."""
    entries = by if isinstance(by, list | tuple) else (by,)
    if entries and all(isinstance(entry, int | np.integer) for entry in entries):
        if any(isinstance(entry, bool) or entry < 0 for entry in entries):
            raise ArgumentError(
                f"{called_name()}: argnums is {quote(by)}, not a place: 0 is the first argument"
            )
        return tuple(map(index, entries))
    leaves = flatten(by)[0]
    if leaves and all(isinstance(leaf, Parameter) for leaf in leaves):
        return None
    raise ArgumentError(
        f"{called_name()}: of a function, argnums is {quote(by)}, {kind_of(by)}",
        hint="the place of an argument, 0 or (0, 1), or parameters that the function reads",
    )


class DerivativePoint:
    """Arguments of a function, and the values in them by which it is differentiated.

    Attributes:
        args: the arguments, with values of their own in those places.
        stands, tree: these values, one after the other, and their containers.
    """

    def __init__(self, args: Sequence[Any], by: Any, direct: bool) -> None:
        """Set up for the arguments that ``by`` names. ``direct``: only they have their values.

        Raises:
            ArgumentError: there is no such argument. GradientError: one that is not differentiable.
        """
        self.args = args = list(with_complex_values(tuple(args)))
        self.places = places_of(by)
        self._is_single = not isinstance(by, list | tuple)
        self.kind = binding_kind(tuple(flatten(args)[0]))
        if is_holding():  # what is mapped over tensors may be read without being an argument
            self.kind = Symbolic
        self._recorded_outside = self.is_eager and _is_recording()
        if self.places is None:
            leaves, self.tree = flatten(by)
            self.stands = [of_kind(leaf, self.kind) for leaf in leaves]
            return
        for place in self.places:
            if place >= len(args):
                raise ArgumentError(
                    f"{called_name()}: the function is called with {len(args)} arguments by"
                    f" position, and shall be differentiated by argument {place}",
                    hint="the first is 0",
                )
        chosen = tuple([self.args[place] for place in self.places])
        leaves, self.tree = flatten(chosen[0] if self._is_single else chosen)
        parts = zip(self.places, [self.tree] if self._is_single else self.tree.parts, strict=True)
        labels = [label for place, part in parts for label in paths(part, f"argument {place}")]
        pairs = zip(labels, leaves, strict=True)
        self.stands = [self._stand(label, leaf, direct) for label, leaf in pairs]
        substitutes = unflatten(self.tree, self.stands)
        for place, substitute in zip(
            self.places, [substitutes] if self._is_single else substitutes, strict=True
        ):
            self.args[place] = substitute

    @property
    def is_eager(self) -> bool:
        """True if the arguments are eager."""
        return bool(self.kind.computes)

    def _stand(self, label: str, leaf: Any, direct: bool) -> Any:
        """Return the leaf that stands for an argument of a derivative, apart from others."""
        if not isinstance(leaf, Value):
            plain = leaf if type(leaf) is PythonNumber else np.asarray(leaf)
            try:
                leaf = as_value(plain, self.kind)
            except (TypeError, ValueError):
                raise GradientError(
                    f"{called_name()}: {label} is {quote(leaf)}, no array"
                ) from None
        leaf = of_kind(leaf, self.kind)
        if not leaf.dtype.is_float:
            raise GradientError(
                f"{called_name()}: {label} is {leaf.type}: there is no derivative by it",
                hint="a floating array, x.astype('float32'); or name other arguments, argnums=1",
            )
        if self.is_eager:
            if leaf.requires_grad and self._recorded_outside:
                return apart(leaf)
            detached = leaf.detach()
            detached.requires_grad = True
            return detached
        return leaf if direct else apart(as_graph_value(leaf))

    def value(self, result: Any, holomorphic: bool = False) -> Any:
        """Return the result of the function as one real value."""
        leaves, tree = flatten(with_complex_values(result))
        if tree.kind is BothParts:
            return reverse.real_loss(unflatten(tree, leaves), holomorphic)
        if tree.kind is not object:
            raise GradientError(
                f"{called_name()}: the function gives {tree} (? stands for a value), not one value",
                hint="a function without return gives None"
                if result is None
                else "a pair of the loss and anything else: has_aux=True",
            )
        return self.values(leaves)[0]

    def values(self, leaves: Sequence[Any]) -> list[Any]:
        """Return the results of the function as values; numbers and arrays become constants."""
        return [as_value(leaf, self.kind) for leaf in leaves]

    def given_back(self, y: Any) -> Any:
        """A value for the caller: a tensor without the tape, where only this point is on it."""
        if isinstance(y, Complex):
            leaves, tree = flatten(y)
            return unflatten(tree, list(map(self.given_back, leaves)))
        return y.detach() if self.is_eager and not self._is_differentiated([y]) else y

    def _is_differentiated(self, ys: Sequence[Any]) -> bool:
        if not self._recorded_outside:
            return False
        if any(stand.grad_fn is not None for stand in self.stands):
            return True
        return bool(_tape().reads_others(ys, self.stands))

    def slope_list(self, y: Any, allow_disconnected: bool, again: bool = False) -> list[Any]:
        """Compute the gradient of a scalar by all arguments; ``again``: differentiably."""
        if self.is_eager:
            again = again or self._is_differentiated([y])
            allow_disconnected |= bool(self.together)
            cotangents = _tape().cotangents([y], self.stands, None, allow_disconnected, again)
            return list(cotangents)
        targets = self.stands
        return list(reverse.grad(y, targets, None, allow_disconnected, together=self.together))

    def pull_back(self, ys: Sequence[Any], cts: Sequence[Any], allow_disconnected: bool) -> Any:
        """Return the cotangents of the arguments for the cotangents of ``ys``."""
        if not self.is_eager:
            arguments = (list(ys), self.stands, list(cts), allow_disconnected, self.together)
            return self.put_back(reverse.vjp(*arguments))
        allow_disconnected |= bool(self.together)
        again = self._is_differentiated(ys) or self._is_differentiated_by(cts)
        lifted = _tape().lift_derivatives("cotangent", ys, cts)
        cotangents = _tape().cotangents(ys, self.stands, lifted, allow_disconnected, again)
        return self.put_back(cotangents)

    def pushing(self, ys: Sequence[Any], allow_disconnected: bool) -> Callable[[Any], list[Any]]:
        """Return a function from tangents of the arguments to the tangents of ``ys``."""
        allow_disconnected |= bool(self.together)  # one part of a complex value may have no path
        if not self.is_eager:
            return lambda ways: forward.jvp(list(ys), self.stands, list(ways), allow_disconnected)
        again, of_tape = self._is_differentiated(ys), _tape()
        tangents = of_tape.Tangents(ys, self.stands, allow_disconnected)
        return lambda ways: list(tangents.along(ways, again or self._is_differentiated_by(ways)))

    def jacobian(self, y: Any, mode: Direction | None, allow_disconnected: bool) -> list[Any]:
        """The Jacobian of a value by each of what is named."""
        if not self.is_eager:
            return list(of_values.jacobian(y, self.stands, mode, allow_disconnected))
        again = self._is_differentiated([y])
        matrices = _tape().matrices(y, self.stands, mode, allow_disconnected, again)
        return list(matrices)

    def _is_differentiated_by(self, cts: Sequence[Any]) -> bool:
        return self._recorded_outside and any(
            isinstance(ct, Value) and ct.computes and ct.requires_grad  # type: ignore[attr-defined]
            for ct in cts
        )

    def put_back(self, derivatives: Sequence[Any]) -> Any:
        """One derivative for each value, in the containers of what is named."""
        return unflatten(self.tree, derivatives, conjugate=True)

    @property
    def together(self) -> list[tuple[Any, Any]]:
        """Both parts of each complex value among what is named."""
        return pairs_in(self.tree, self.stands)

    def check_real(self, *values: Any) -> None:
        """Refuse complex results, and complex values to differentiate by."""
        check_real(unflatten(self.tree, self.stands), *values)


# -- tensors --------------------------------------------------------------------------------------


def _tape() -> Any:
    """Derivatives of tensors; who has tensors has loaded most of it."""
    from staticgrad.eager import of_tensors

    return of_tensors


def _is_recording() -> bool:
    from staticgrad.eager.tape import recording

    return recording.innermost()


@contextmanager
def recording(point: DerivativePoint) -> Iterator[None]:
    """Record on a tape in this context what is to be differentiated, if arguments are tensors."""
    if not point.is_eager:
        yield
        return
    from staticgrad.eager.at_once import eager_mode  # as above
    from staticgrad.eager.tape import enable_grad

    with enable_grad(), eager_mode():
        yield


# -- derivatives at a point -----------------------------------------------------------------------


def at_point(
    f: Any,
    name: str,
    rule: Callable[[Any, Any, bool], Any],
    x: Any,
    seeds: Any,
    by: Any,
    options: Hashable,
) -> Any:
    """Run a derivative rule at a point, with tangents or cotangents; compiled for arrays.

    It is differentiated by the arguments at ``by``, a place or several; programs are kept for each
    choice and ``options``.
    """
    if runs_directly(x, seeds):
        return called_as(name, rule, x, seeds, False)

    def make() -> Function[..., Any]:
        """Make the function of a derivative rule that is traced and compiled."""

        def direct(x: Any, seeds: Any) -> Any:
            return called_as(name, rule, x, seeds, True)

        direct.__signature__ = signature(direct)  # type: ignore[attr-defined]
        direct.__wrapped__ = f  # type: ignore[attr-defined]
        direct.__qualname__ = f"{name}({getattr(f, '__name__', 'function')})"
        return Function(direct, (), {}, {})

    program = made_once(f, (name, by, options), make)
    return program(with_arrays(x, by), map_leaves(as_array, seeds))


def with_arrays(x: Any, by: Any) -> Any:
    """Return the argument, or tuple of arguments, with Python numbers at ``by`` as arrays."""
    if not isinstance(x, tuple):
        return map_leaves(as_array, x)
    places = by if isinstance(by, tuple) else (by,)
    return tuple([map_leaves(as_array, y) if place in places else y for place, y in enumerate(x)])


# -- ``sg.grad`` and related functions of functions -----------------------------------------------


def gradient(
    name: str, f: AnyFunction, by: Any, has_aux: bool, allow: bool, holomorphic: bool = False
) -> Any:
    """Return the gradient function of ``f``: ``sg.grad(f)``, or with its value and aux."""
    places = places_of(by)

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        """Evaluate a function and its gradient at these arguments."""
        point = DerivativePoint(args, by, direct)
        with recording(point):
            result, aux = f(*point.args, **kwargs), None
            if has_aux:
                result, aux = _pair(result)
            y = point.given_back(result)  # while the tape is there
            result = point.value(result, holomorphic)
            slopes = point.put_back(point.slope_list(result, allow))
        if name == "grad":
            return (slopes, aux) if has_aux else slopes
        return ((y, aux), slopes) if has_aux else (y, slopes)

    def make() -> Transformed:
        return Transformed(f, name, rule, places or ())

    options = (name, repr(by), has_aux, allow, holomorphic)
    return make() if places is None else made_once(f, options, make)


def _pair(result: Any) -> tuple[Any, Any]:
    """Check that a function with ``has_aux`` returns a pair."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise GradientError(
            f"{called_name()}: the function gives {quote(result)},"
            " not a pair of the value and anything else",
            hint="has_aux=True is for functions that return loss, others",
        )
    return result


@by_all_operands
def vjp(f: AnyFunction, x: Any, ct: Any, allow_disconnected: bool, argnums: Any = None) -> Any:
    """Return a function's result at a point, with cotangents or the function of them."""
    by = _by(x, argnums)
    if ct is not None:
        return _along("vjp", f, x, ct, by, allow_disconnected)
    if runs_directly(x):
        return _linearize_at("vjp", f, x, by, False, allow_disconnected)
    return _value_of(f, x, by), lambda ct: vjp(f, x, ct, allow_disconnected, argnums)[1]


@by_all_operands
def jvp(f: AnyFunction, x: Any, tangent: Any, allow_disconnected: bool, argnums: Any = None) -> Any:
    """Return a function's result at a point, with its tangents."""
    return _along("jvp", f, x, tangent, _by(x, argnums), allow_disconnected)


@by_all_operands
def linearize(f: AnyFunction, x: Any, allow_disconnected: bool, argnums: Any) -> Any:
    """Return a function's result at a point, with the function of tangents."""
    by = _by(x, argnums)
    if runs_directly(x):
        return _linearize_at("linearize", f, x, by, False, allow_disconnected)
    return _value_of(f, x, by), lambda tangent: jvp(f, x, tangent, allow_disconnected, by)[1]


def _along(name: str, f: AnyFunction, x: Any, seeds: Any, by: Any, allow: bool) -> Any:
    def rule(x: Any, seeds: Any, direct: bool) -> Any:
        result, along = _linearize_at(name, f, x, by, direct, allow)
        return result, along(seeds)

    return at_point(f, name, rule, x, seeds, by, allow)


def _linearize_at(
    name: str, f: AnyFunction, x: Any, by: Any, direct: bool, allow: bool
) -> tuple[Any, Any]:
    """Return a function's result at a point, and the linear map of its derivative there."""
    point = DerivativePoint(x if isinstance(x, tuple) else (x,), by, direct)
    with recording(point):
        leaves, tree = flatten(f(*point.args))
        values = point.values(leaves)
        allow_push = allow or bool(pairs_in(tree, values))
        pushed = None if name == "vjp" else point.pushing(values, allow_push)

    def along(seeds: Any) -> Any:
        """Apply the linearized function to tangents, or its transpose to cotangents."""
        if pushed is None:
            cts = match_leaves("cotangent", seeds, tree, point.kind)
            with recording(point):
                return point.pull_back(values, cts, allow)
        tangents = match_leaves("tangent", seeds, point.tree, point.kind)
        with recording(point):
            return unflatten(tree, pushed(tangents))

    result = unflatten(tree, [point.given_back(value) for value in values])
    return result, lambda seeds: called_as(name, along, seeds)


def _by(x: Any, argnums: Any) -> Any:
    """Return the positions of the arguments in ``x`` by which to differentiate."""
    if argnums is None:
        return tuple(range(len(x))) if isinstance(x, tuple) else 0
    places = places_of(argnums)
    if places is None:
        raise ArgumentError(
            f"{called_name()}: argnums is {quote(argnums)}, not the place of an argument",
            hint="parameters that the function reads: sg.grad(f, w), or make them arguments",
        )
    return places if isinstance(argnums, list | tuple) else places[0]


def _value_of(f: AnyFunction, x: Any, by: Any) -> Any:
    x = with_arrays(x, by)
    args = x if isinstance(x, tuple) else (x,)
    program = made_once(f, "value", lambda: function(f))
    return program(*args)


def jacobian(f: AnyFunction, by: Any, mode: Direction | None, allow_disconnected: bool) -> Any:
    """Return the function of Jacobians of ``f``."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        """Evaluate the Jacobians of a function's results at these arguments."""
        point = DerivativePoint(args, by, direct)
        with recording(point):
            result = f(*point.args, **kwargs)
            point.check_real(result)
            leaves, tree = flatten(result)
            rows = [
                point.put_back(point.jacobian(value, mode, allow_disconnected))
                for value in point.values(leaves)
            ]
        return unflatten(tree, rows)

    return _make_transformed(f, "jacobian", rule, by, (mode, allow_disconnected))


def hessian(f: AnyFunction, by: Any, allow_disconnected: bool) -> Any:
    """Return the function of Hessian blocks of ``f``."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        """Evaluate the Hessian blocks of a scalar function at these arguments."""
        point = DerivativePoint(args, by, direct)
        mode: Direction = "reverse" if point.is_eager else "forward"  # what takes fewer walks there
        with recording(point):
            y = point.value(f(*point.args, **kwargs))
            point.check_real()
            slopes = point.slope_list(y, allow_disconnected, again=True)
            rows = [point.jacobian(slope, mode, allow_disconnected) for slope in slopes]
        return point.put_back([point.put_back(row) for row in rows])

    return _make_transformed(f, "hessian", rule, by, allow_disconnected)


def hvp(f: AnyFunction, x: Any, v: Any, allow_disconnected: bool, argnums: Any) -> Any:
    """Compute the product of a function's Hessian at a point with a vector."""
    by = _by(x, argnums)

    def rule(x: Any, v: Any, direct: bool) -> Any:
        """Compute a Hessian-vector product: forward over reverse; on a tape reverse twice."""
        point = DerivativePoint(x if isinstance(x, tuple) else (x,), by, direct)
        along = match_leaves("tangent", v, point.tree, point.kind)
        allow = allow_disconnected or bool(point.together)
        with recording(point):
            y = point.value(f(*point.args))
            if point.is_eager:  # a tape runs backwards only: reverse over reverse
                slopes = point.slope_list(y, allow, again=True)
                return point.pull_back(slopes, along, allow)
        return point.put_back(of_values.hvp(y, point.stands, along, allow))

    return at_point(f, "hvp", rule, x, v, by, allow_disconnected)


def _make_transformed(f: AnyFunction, name: str, rule: Any, by: Any, options: Any) -> Any:
    places = places_of(by)
    if places is None:
        return Transformed(f, name, rule)
    return made_once(f, (name, repr(by), options), lambda: Transformed(f, name, rule, places))


@overload
def vmap(
    f: Gradient[P], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> Gradient[P]: ...
@overload
def vmap(
    f: ValueAndGradient[P, R], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> ValueAndGradient[P, R]: ...
@overload
def vmap(
    f: OfValue[P], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> OfValue[P]: ...
@overload
def vmap(
    f: OfArrays[P, R], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> Callable[P, R]: ...
@overload
def vmap(
    f: Callable[P, R], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> Callable[P, R]: ...
def vmap(f: Any, in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None) -> Any:
    """Map ``f`` over batches: its results for each element along an axis, stacked, without a loop.

    ``f`` is written for one element and is called once, with values of an element's shape; what it
    builds is computed for all elements at a time. It may close over values and parameters, hold
    loops and branches, take gradients, and be mapped again. What it draws at random is drawn for
    each element apart, with the bits of ``sg.map``. In a branch on a condition that differs
    among elements all cases are computed, and a ``while_loop`` computes until its test fails for
    all of them; what an element does not take is left out.

    Args:
        f: takes trees of values and returns one: dicts, lists, tuples, named tuples,
            dataclasses and None.
        in_axes: the axis of elements in each argument; None for one that all elements share,
            whatever it is. One for all arguments, or a tuple of one for each; where an argument is
            a tree, one for all of it or a tree of the same containers. Arguments by keyword have
            their elements along their first axis.
        out_axes: where the axis of elements stands in each result, likewise. A result that depends
            on no element is repeated for each; with None it is given once.
        axis_size: how many elements there are; by default the size of the axes. It may be a named
            size.

    Returns:
        The function over batches: values of a graph give values of a graph, as parameters alone do,
        tensors tensors, and arrays arrays, by a program that is traced and compiled as under
        ``sg.function``.

    Raises:
        ArgumentError: no argument has an axis of elements; ``in_axes`` or ``out_axes`` do not fit
            the containers; a result depends on elements where ``out_axes`` is None.
        AxisError: there is no such axis.
        ShapeError: axes of elements of different sizes. Of named ones a run checks it.

    >>> import numpy as np, staticgrad as sg
    >>> vmap(lambda x, y: x @ y)(np.eye(2), np.ones((2, 2)))
    array([1., 1.])
    >>> w, x = sg.input("w", (3,), "float64"), sg.input("x", ("n", 3), "float64")
    >>> slopes = vmap(lambda each: sg.grad((w @ each) ** 2, w))(x)
    >>> sg.evaluate(slopes, {"w": [1.0, 0.0, 0.0], "x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})
    array([[ 2.,  4.,  6.],
           [32., 40., 48.]])
    """
    if isinstance(f, Value) or not callable(f):
        what = "a value" if isinstance(f, Value) else kind_of(f)
        hint = "sg.vmap(lambda x: ...)(batch)"
        if isinstance(f, Symbolic):
            hint = f"a value over a batch: sg.vectorize(z, {{x: batch}}); a function: {hint}"
        raise ArgumentError(f"vmap: f is {what}, not a function", hint=hint)

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        return over_elements(f, args, kwargs, (in_axes, out_axes), axis_size)

    def make() -> Transformed:
        mapped = Transformed(f, "vmap", rule)
        mapped.__signature__ = without_defaults(f)  # for whoever traces a call of it
        vars(mapped)[TELLS_NAMES] = (
            True  # those have their elements in front, whatever in_axes says
        )
        return mapped

    if isinstance(axis_size, Dim):
        return make()
    return made_once(f, ("vmap", repr(in_axes), repr(out_axes), repr(axis_size)), make)
