"""Derivatives of values and functions: ``grad``, ``jvp``, ``vjp`` and what is built on them.

For values, ``autodiff`` adds nodes to the graph. For functions, the result is a function
(``transformed.py``), so they compose in any order with each other, ``vmap`` and ``function``.
``jvp``, ``vjp`` and ``linearize`` of a function are called with a point, as elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, Literal, TypeAlias, overload

from staticgrad.autodiff import reverse
from staticgrad.autodiff.structure import Key, Leaf, Structure, not_a_value
from staticgrad.errors import ArgumentError
from staticgrad.errors.calls import check_arguments
from staticgrad.errors.tracebacks import called_name, names_messages
from staticgrad.errors.wording import quote
from staticgrad.functions.call_types import Fed, Gradient, OfArrays, P, R, ValueAndGradient
from staticgrad.language.calls.arguments import public
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.value import Value
from staticgrad.support.containers import first_part
from staticgrad.support.docstrings import like

AnyFunction = Callable[..., Any]
#: By what a function is differentiated: places of arguments, or parameters that it reads.
Wrt: TypeAlias = int | tuple[int, ...] | Value | Structure


def is_function(y: Any) -> bool:
    """Return whether a function itself is to be differentiated, not its result."""
    if isinstance(y, Value | Graph | type) or not callable(y):
        return False
    return not hasattr(type(y), "run")  # a compiled program


def differentiates_by(word: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a derivative with ``word`` of a value, or ``argnums`` of a function, as its second
    argument.

    The derivative gets both in its second parameter: it does not read ``argnums``. The default of
    the second parameter is that of functions; a value has none.

    Raises:
        ArgumentError: ``word`` by name with a function, which has one spelling; ``argnums`` twice;
            options of functions with a value.
        UnknownArgumentError: a value without ``word``.
        GradientError: a graph, which is neither.
    """

    def decorate(derivative: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a derivative so that ``argnums`` and its second argument are checked."""

        @functools.wraps(derivative)
        def call_derivative(*args: Any, **kwargs: Any) -> Any:
            argnums = kwargs.pop("argnums", None)
            if args or "y" in kwargs:
                _check_second(derivative.__name__, derivative, word, argnums, args, kwargs)
            return derivative(*args, **kwargs if argnums is None else {**kwargs, word: argnums})

        return call_derivative

    return decorate


@names_messages
def _check_second(
    name: str, derivative: Any, word: str, argnums: Any, args: Any, kwargs: dict[str, Any]
) -> None:
    """Refuse a second argument that does not fit what is differentiated."""
    y = args[0] if args else kwargs.get("y")
    if isinstance(y, Graph):
        raise not_a_value(y)
    if not is_function(y):
        check_value(argnums, "has_aux" in derivative.__kwdefaults__ and kwargs.get("has_aux"))
        if len(args) < 2 and word not in kwargs:
            ours = signature(derivative)
            required = ours.parameters[word].replace(default=Parameter.empty)
            parameters = {**ours.parameters, word: required}.values()
            check_arguments(name, ours.replace(parameters=[*parameters]), args, kwargs)
    elif word in kwargs:
        raise ArgumentError(
            f"{name}: a function has no {word}; arguments are chosen by argnums",
            hint=f"argnums={quote(kwargs[word])}",
        )
    elif len(args) > 1 and argnums is not None:
        raise ArgumentError(f"{name}: {word} and argnums are one argument, given twice")


def check_value(argnums: Any, has_aux: Any = False) -> None:
    """Refuse options of functions where a value is differentiated."""
    if argnums is not None or has_aux:
        word = "has_aux" if argnums is None else "argnums"
        raise ArgumentError(
            f"{called_name()}: {word} belongs to functions, and this is a value",
            hint="sg.grad(loss, w) names what a value is differentiated by",
        )


@overload
def grad(y: Value, wrt: Value, seed: Any = None, allow_disconnected: bool = False) -> Value: ...
@overload
def grad(
    y: Value, wrt: list[Leaf], seed: Any = None, allow_disconnected: bool = False
) -> list[Value]: ...
@overload
def grad(
    y: Value, wrt: tuple[Leaf, ...], seed: Any = None, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def grad(
    y: Value, wrt: dict[Key, Leaf], seed: Any = None, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def grad(y: Value, wrt: Structure, seed: Any = None, allow_disconnected: bool = False) -> Any: ...
@overload
def grad(  # type: ignore[overload-overlap]
    y: Gradient[P], *, allow_disconnected: bool = False, has_aux: Literal[False] = False
) -> Gradient[P]: ...
@overload
def grad(
    y: Callable[P, Value], *, allow_disconnected: bool = False, has_aux: Literal[False] = False
) -> Gradient[P]: ...
@overload
def grad(
    y: Callable[P, Any],
    argnums: tuple[int, ...],
    *,
    allow_disconnected: bool = False,
    has_aux: Literal[False] = False,
) -> OfArrays[P, tuple[Any, ...]]: ...
@overload
def grad(
    y: Callable[P, Any],
    argnums: Wrt = 0,
    *,
    allow_disconnected: bool = False,
    has_aux: bool = False,
) -> OfArrays[P, Any]: ...
@public
@differentiates_by("wrt")
def grad(
    y: Any,
    wrt: Any = 0,
    seed: Any = None,
    allow_disconnected: bool = False,
    *,
    argnums: Any = None,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Any:
    """Return the gradient of ``y`` with respect to each of ``wrt`` (a function if ``y`` is one).

    ``sg.grad(f)`` takes the arguments of ``f`` and gives the gradient by the first one. With arrays
    it runs compiled, as under ``sg.function``; with values of a graph it builds more of the graph;
    with tensors it uses the tape. The gradient of a tensor is a tensor and can be differentiated.

    Args:
        y: a floating value; of one element (0-d, or of literal sizes 1) unless a seed is given. Or
            a function that gives one.
        wrt: a value (input, parameter or intermediate), or a list, tuple or dict of them. Of a
            function the second argument is ``argnums``.
        seed: the cotangent of ``y``, a value or array of y's type; 1 by default. The result is
            then the product of the seed with the Jacobian, as ``vjp`` gives it.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.
        argnums: of a function: the place of an argument (0 by default) or a tuple of places, whose
            trees of arrays may be nested; or parameters that it reads, in containers.
        has_aux: the function gives a pair of the value and anything else; so does the result.
        holomorphic: ``y`` is complex and a holomorphic function of what is named; the result is the
            complex derivative.

    Returns:
        One value for one value, else the containers of ``wrt``; each gradient has exactly the type
        of what it belongs to. An intermediate counts as if it could vary by itself. Of a function,
        a function. By a complex value z it is dL/dre - i dL/dim, as in JAX: a step of descent goes
        against its conjugate.

    Raises:
        GradientError: ``y`` is not floating, or not one element and has no seed; the seed does not
            fit; ``wrt`` holds something without gradient; an op on the way has no rule.
        DisconnectedError: the only paths to a wanted value lead through ops that pass no gradient
            on (comparisons, ``floor``, integers, ``stop_gradient``), or there is none. It names
            the line at which the path dies.
        ArgumentError: places that a function does not have.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> sg.evaluate(grad(x**3, x), {"x": 2.0})
    array(12.)
    >>> grad(grad(lambda x: x**3))(2.0)
    np.float64(12.0)
    """
    if not is_function(y):
        return _by_values(y, wrt, seed, allow_disconnected, holomorphic)
    if seed is not None:
        raise ArgumentError("grad: a function takes no seed", hint="sg.vjp(f, x, ct)")
    return rules_of_functions().gradient("grad", y, wrt, has_aux, allow_disconnected, holomorphic)


@overload
def value_and_grad(
    y: Value, wrt: Value, allow_disconnected: bool = False
) -> tuple[Value, Value]: ...
@overload
def value_and_grad(
    y: Value, wrt: list[Leaf], allow_disconnected: bool = False
) -> tuple[Value, list[Value]]: ...
@overload
def value_and_grad(
    y: Value, wrt: tuple[Leaf, ...], allow_disconnected: bool = False
) -> tuple[Value, tuple[Value, ...]]: ...
@overload
def value_and_grad(
    y: Value, wrt: dict[Key, Leaf], allow_disconnected: bool = False
) -> tuple[Value, dict[Key, Value]]: ...
@overload
def value_and_grad(
    y: Value, wrt: Structure, allow_disconnected: bool = False
) -> tuple[Value, Any]: ...
@overload
def value_and_grad(
    y: Callable[P, R], *, allow_disconnected: bool = False, has_aux: Literal[False] = False
) -> ValueAndGradient[P, R]: ...
@overload
def value_and_grad(
    y: Callable[P, Any],
    argnums: Wrt = 0,
    allow_disconnected: bool = False,
    *,
    has_aux: bool = False,
) -> OfArrays[P, tuple[Any, Any]]: ...
@like(grad)
@public
@differentiates_by("wrt")
def value_and_grad(
    y: Any,
    wrt: Any = 0,
    allow_disconnected: bool = False,
    *,
    argnums: Any = None,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Any:
    """Return ``y`` and its gradient, ``(y, grad(y, wrt))``, in one graph.

    Both are parts of the same graph, so there is no second forward pass.

    Returns:
        The pair. Of a function, a function that gives it; with ``has_aux``,
        ``((y, aux), gradient)``.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> y, slope = value_and_grad(x**3, x)
    >>> sg.evaluate({"y": y, "slope": slope}, {"x": 2.0})
    {'y': array(8.), 'slope': array(12.)}
    >>> value_and_grad(lambda x, n: x**n)(2.0, 3)
    (np.float64(8.0), np.float64(12.0))
    """
    if not is_function(y):
        return y, _by_values(y, wrt, None, allow_disconnected, holomorphic)
    return rules_of_functions().gradient(
        "value_and_grad", y, wrt, has_aux, allow_disconnected, holomorphic
    )


def _by_values(
    y: Any, wrt: Any, seed: Any, allow_disconnected: bool, holomorphic: bool = False
) -> Any:
    """The gradient of a value, by values; of a tensor by the tape."""
    if are_tensors(y):
        return rules_of_tensors().gradients(y, wrt, seed, allow_disconnected)
    return reverse.grad(y, wrt, seed, allow_disconnected, holomorphic)


@overload
def vjp(
    y: Callable[[Value], Value], x: Fed, ct: None = None, allow_disconnected: bool = False
) -> tuple[Array, Callable[[Any], Array]]: ...
@overload
def vjp(
    y: Callable[[Value], Value], x: Fed, ct: Any, allow_disconnected: bool = False
) -> tuple[Array, Array]: ...
@overload
def vjp(
    y: Callable[[Value], R], x: AnyValue, ct: None = None, allow_disconnected: bool = False
) -> tuple[R, Callable[[Any], AnyValue]]: ...
@overload
def vjp(
    y: Callable[[Value], R], x: AnyValue, ct: Any, allow_disconnected: bool = False
) -> tuple[R, AnyValue]: ...
@overload
def vjp(
    y: AnyFunction,
    x: Any,
    ct: Any = None,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> tuple[Any, Any]: ...
@overload
def vjp(y: Value | Structure, x: Value, ct: Any, allow_disconnected: bool = False) -> Value: ...
@overload
def vjp(
    y: Value | Structure, x: list[Leaf], ct: Any, allow_disconnected: bool = False
) -> list[Value]: ...
@overload
def vjp(
    y: Value | Structure, x: tuple[Leaf, ...], ct: Any, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def vjp(
    y: Value | Structure, x: dict[Key, Leaf], ct: Any, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def vjp(y: Value | Structure, x: Structure, ct: Any, allow_disconnected: bool = False) -> Any: ...
@public
def vjp(
    y: Any,
    x: Any,
    ct: Any = None,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> Any:
    """Return the cotangents of ``x`` for cotangents of ``y``: ct times the Jacobian (reverse mode).

    Args:
        y: a floating value, or a list, tuple or dict of them, of any shapes. Or a function.
        x: what to differentiate by, as ``wrt`` of ``grad``. Of a function the argument at which it
            is taken, or a tuple of all arguments.
        ct: for each value of ``y`` a value or array of its type, in the containers of ``y``.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.
        argnums: of a function: the place of an argument in ``x``, or a tuple of places, by which it
            is differentiated; by default all of them. Cotangents are of these arguments alone.

    Returns:
        The containers of ``x``, each cotangent of exactly the type of what it belongs to. Of a
        function the pair of what it gives and these; without ``ct`` the second is a function of it
        (which, of arrays, computes the first once more).

    Raises:
        GradientError, DisconnectedError: as ``grad``.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(vjp(x**2, x, [1.0, 10.0]), {"x": [3.0, 4.0]})
    array([ 6., 80.])
    >>> y, pull = vjp(lambda x: x**2, np.array([3.0, 4.0]))
    >>> y, pull(np.array([1.0, 10.0]))
    (array([ 9., 16.]), array([ 6., 80.]))
    """
    if is_function(y):
        return rules_of_functions().vjp(y, x, ct, allow_disconnected, argnums)
    check_value(argnums)
    rules = rules_of_tensors() if are_tensors(y) else reverse
    return rules.vjp(y, x, ct, allow_disconnected)


@overload
def jvp(
    y: Callable[[Value], Value], x: Fed, tangent: Any, allow_disconnected: bool = False
) -> tuple[Array, Array]: ...
@overload
def jvp(
    y: Callable[[Value], R], x: Value, tangent: Any, allow_disconnected: bool = False
) -> tuple[R, R]: ...
@overload
def jvp(
    y: AnyFunction,
    x: Any,
    tangent: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> tuple[Any, Any]: ...
@overload
def jvp(
    y: Value, x: Value | Structure, tangent: Any, allow_disconnected: bool = False
) -> Value: ...
@overload
def jvp(
    y: list[Leaf], x: Value | Structure, tangent: Any, allow_disconnected: bool = False
) -> list[Value]: ...
@overload
def jvp(
    y: tuple[Leaf, ...], x: Value | Structure, tangent: Any, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def jvp(
    y: dict[Key, Leaf], x: Value | Structure, tangent: Any, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def jvp(
    y: Structure, x: Value | Structure, tangent: Any, allow_disconnected: bool = False
) -> Any: ...
@public
def jvp(
    y: Any,
    x: Any,
    tangent: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> Any:
    """Forward mode: the tangents of ``y`` when ``x`` moves along ``tangent``; Jacobian times it.

    One tangent costs about as much as ``y`` itself, whatever the sizes; the gradient of a value
    with one element is cheaper by ``grad``.

    Args:
        y: a floating value, or a list, tuple or dict of them, of any shapes. Or a function.
        x: a floating value (input, parameter or intermediate), or a list, tuple or dict of them. Of
            a function the argument at which it is taken, or a tuple of all arguments.
        tangent: for each value of ``x`` a value or array of its type, in the containers of ``x``.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.
        argnums: of a function, as in ``vjp``; tangents are of these arguments alone.

    Returns:
        The containers of ``y``, each tangent of exactly the type of what it belongs to. Of a
        function the pair of what it gives and these.

    Raises:
        GradientError: something else than floating values; a tangent that does not fit; an op on
            the way without a rule.
        DisconnectedError: a value of ``y`` that no differentiable path leads to, or one of ``x``
            that none starts from.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(jvp(x**2, x, [1.0, 10.0]), {"x": [3.0, 4.0]})
    array([ 6., 80.])
    >>> jvp(lambda x: x**2, np.array([3.0, 4.0]), np.array([1.0, 10.0]))
    (array([ 9., 16.]), array([ 6., 80.]))
    """
    if is_function(y):
        return rules_of_functions().jvp(y, x, tangent, allow_disconnected, argnums)
    check_value(argnums)
    if are_tensors(y):
        return rules_of_tensors().jvp(y, x, tangent, allow_disconnected)
    from staticgrad.autodiff import forward

    return forward.jvp(y, x, tangent, allow_disconnected)


@overload
def linearize(
    f: Callable[[Value], Value], x: Fed, allow_disconnected: bool = False
) -> tuple[Array, Callable[[Any], Array]]: ...
@overload
def linearize(
    f: Callable[[Value], R], x: Value, allow_disconnected: bool = False
) -> tuple[R, Callable[[Any], R]]: ...
@overload
def linearize(
    f: AnyFunction,
    x: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> tuple[Any, AnyFunction]: ...
@public
def linearize(
    f: Any,
    x: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> tuple[Any, Any]:
    """Return a function's result at a point, and its derivative there as a function of tangents.

    Args:
        f: takes and gives floating values in containers.
        x: the argument, or a tuple of all arguments.
        allow_disconnected, argnums: as in ``jvp``.

    Returns:
        ``f(x)``, and the function from tangents of ``x`` to those of the result. Of values of a
        graph both are parts of it; of arrays each call of the second computes the first once more.

    Raises:
        GradientError, DisconnectedError: as ``jvp``.

    >>> import numpy as np
    >>> y, push = linearize(lambda x: x**2, np.array([3.0, 4.0]))
    >>> y, push(np.array([1.0, 10.0]))
    (array([ 9., 16.]), array([ 6., 80.]))
    """
    if not is_function(f):
        raise ArgumentError(
            f"linearize: f is {quote(f)}, not a function",
            hint="of values: sg.jvp(y, x, tangent)",
        )
    linearization: tuple[Any, AnyFunction] = rules_of_functions().linearize(
        f, x, allow_disconnected, argnums
    )
    return linearization


def rules_of_functions() -> Any:
    """Return the module of derivatives of functions, which imports the compiler."""
    from staticgrad.programs import transformed  # values alone do without

    return transformed


def are_tensors(y: Any) -> bool:
    """Return whether ``y`` is a tensor, or the first value in its containers is."""
    first = first_part(y)
    return isinstance(first, Value) and bool(first.computes)


def rules_of_tensors() -> Any:
    """Return the module of derivatives of tensors, which belongs to the tape."""
    from staticgrad.eager import of_tensors  # who has tensors has loaded most of it

    return of_tensors
