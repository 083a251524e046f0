"""``sg.grad`` and related functions of functions: rules over values, run by ``transformed.py``."""

from __future__ import annotations

from typing import Any

from staticgrad.autodiff import jacobian as of_values
from staticgrad.errors import ArgumentError, GradientError
from staticgrad.errors.wording import shown
from staticgrad.functions.operand_kinds import by_all_operands
from staticgrad.functions.trees import flatten, matched, unflatten
from staticgrad.programs.function import function
from staticgrad.programs.transformed import (
    AnyFunction,
    DerivativePoint,
    Transformed,
    at_point,
    made_once,
    places_of,
    recording,
    runs_directly,
    with_arrays,
)


def gradient(name: str, f: AnyFunction, by: Any, has_aux: bool, allow: bool) -> Any:
    """The function that gives the gradient of ``f``, and its value where ``name`` says so."""
    places = places_of(name, by)

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        point = DerivativePoint(name, args, by, direct)
        with recording(point):
            found, aux = f(*point.args, **kwargs), None
            if has_aux:
                found, aux = _pair(name, found)
            found = point.value(found)
            y = point.given_back(found)  # while the tape is there
            slopes = point.put_back(point.slope_list(found, allow))
        if name == "grad":
            return (slopes, aux) if has_aux else slopes
        return ((y, aux), slopes) if has_aux else (y, slopes)

    def made() -> Transformed:
        return Transformed(f, name, rule, places or ())

    return made() if places is None else made_once(f, (name, repr(by), has_aux, allow), made)


def _pair(name: str, found: Any) -> tuple[Any, Any]:
    if not isinstance(found, tuple) or len(found) != 2:
        raise GradientError(
            f"{name}: the function gives {shown(found)}, not a pair of the value and anything else",
            hint="has_aux=True is for functions that return loss, others",
        )
    return found


@by_all_operands
def vjp(f: AnyFunction, x: Any, ct: Any, allow_disconnected: bool, argnums: Any = None) -> Any:
    """Return a function's result at a point, with cotangents or the function of them."""
    by = _by("vjp", x, argnums)

    def start(x: Any, direct: bool) -> Any:
        point = DerivativePoint("vjp", x if isinstance(x, tuple) else (x,), by, direct)
        with recording(point):
            leaves, tree = flatten(f(*point.args))
            values = point.values(leaves)

        def pull(ct: Any) -> Any:
            cts = matched("vjp", "cotangent", ct, tree)
            with recording(point):
                return point.pulled(values, cts, allow_disconnected)

        return unflatten(tree, [point.given_back(value) for value in values]), pull

    def rule(x: Any, ct: Any, direct: bool) -> Any:
        found, pull = start(x, direct)
        return found, pull(ct)

    if ct is not None:
        return at_point(f, "vjp", rule, x, ct, by, allow_disconnected)
    if runs_directly(x):
        return start(x, False)
    return _value_of(f, x, by), lambda ct: vjp(f, x, ct, allow_disconnected, argnums)[1]


@by_all_operands
def jvp(f: AnyFunction, x: Any, tangent: Any, allow_disconnected: bool, argnums: Any = None) -> Any:
    """Return a function's result at a point, with its tangents."""
    by = _by("jvp", x, argnums)

    def rule(x: Any, tangent: Any, direct: bool) -> Any:
        found, push = _pushing("jvp", f, x, by, direct, allow_disconnected)
        return found, push(tangent)

    return at_point(f, "jvp", rule, x, tangent, by, allow_disconnected)


@by_all_operands
def linearize(f: AnyFunction, x: Any, allow_disconnected: bool, argnums: Any) -> Any:
    """Return a function's result at a point, with the function of tangents."""
    by = _by("linearize", x, argnums)
    if runs_directly(x):
        return _pushing("linearize", f, x, by, False, allow_disconnected)
    return _value_of(f, x, by), lambda tangent: jvp(f, x, tangent, allow_disconnected, by)[1]


def _pushing(
    name: str, f: AnyFunction, x: Any, by: Any, direct: bool, allow: bool
) -> tuple[Any, Any]:
    """Return a function's result at a point, and a function from its tangents to the result's."""
    point = DerivativePoint(name, x if isinstance(x, tuple) else (x,), by, direct)
    with recording(point):
        leaves, tree = flatten(f(*point.args))
        values = point.values(leaves)
        pushed = point.pushing(values, allow)

    def push(tangent: Any) -> Any:
        tangents = matched(name, "tangent", tangent, point.tree)
        with recording(point):
            return unflatten(tree, pushed(tangents))

    return unflatten(tree, [point.given_back(value) for value in values]), push


def _by(name: str, x: Any, argnums: Any) -> Any:
    """Return the places of the arguments in ``x`` by which a function is differentiated."""
    if argnums is None:
        return tuple(range(len(x))) if isinstance(x, tuple) else 0
    places = places_of(name, argnums)
    if places is None:
        raise ArgumentError(
            f"{name}: argnums is {shown(argnums)}, not the place of an argument",
            hint="parameters that the function reads: sg.grad(f, w), or make them arguments",
        )
    return places if isinstance(argnums, list | tuple) else places[0]


def _value_of(f: AnyFunction, x: Any, by: Any) -> Any:
    x = with_arrays(x, by)
    args = x if isinstance(x, tuple) else (x,)
    program = made_once(f, "value", lambda: function(f))
    return program(*args)


def jacobian(f: AnyFunction, by: Any, mode: str | None, allow_disconnected: bool) -> Any:
    """The function that gives Jacobians."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        point = DerivativePoint("jacobian", args, by, direct)
        with recording(point):
            leaves, tree = flatten(f(*point.args, **kwargs))
            rows = [
                point.put_back(point.jacobian(each, mode, allow_disconnected))
                for each in point.values(leaves)
            ]
        return unflatten(tree, rows)

    return _transformed(f, "jacobian", rule, by, (mode, allow_disconnected))


def hessian(f: AnyFunction, by: Any, allow_disconnected: bool) -> Any:
    """The function that gives blocks of second derivatives."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        point = DerivativePoint("hessian", args, by, direct)
        mode = "reverse" if point.is_eager else "forward"  # what takes fewer walks there
        with recording(point):
            y = point.value(f(*point.args, **kwargs))
            slopes = point.slope_list(y, allow_disconnected, again=True)
            rows = [point.jacobian(slope, mode, allow_disconnected) for slope in slopes]
        return point.put_back([point.put_back(row) for row in rows])

    return _transformed(f, "hessian", rule, by, allow_disconnected)


def hvp(f: AnyFunction, x: Any, v: Any, allow_disconnected: bool, argnums: Any) -> Any:
    """A product with the Hessian at a point."""
    by = _by("hvp", x, argnums)

    def rule(x: Any, v: Any, direct: bool) -> Any:
        point = DerivativePoint("hvp", x if isinstance(x, tuple) else (x,), by, direct)
        along = matched("hvp", "tangent", v, point.tree)
        with recording(point):
            y = point.value(f(*point.args))
            if point.is_eager:  # a tape runs backwards only: reverse over reverse
                slopes = point.slope_list(y, allow_disconnected, again=True)
                return point.pulled(slopes, along, allow_disconnected)
        return point.put_back(of_values.hvp(y, point.stands, along, allow_disconnected))

    return at_point(f, "hvp", rule, x, v, by, allow_disconnected)


def _transformed(f: AnyFunction, name: str, rule: Any, by: Any, options: Any) -> Any:
    places = places_of(name, by)
    if places is None:
        return Transformed(f, name, rule)
    return made_once(f, (name, repr(by), options), lambda: Transformed(f, name, rule, places))
