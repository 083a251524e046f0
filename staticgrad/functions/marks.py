"""Marks for policies of recomputation: what shall be kept, or computed again first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, overload

from staticgrad.functions.call_types import P, R
from staticgrad.functions.trees import flatten, mapped, unflatten
from staticgrad.ir.graph import Symbolic
from staticgrad.ir.kinds import AnyValue, Operand, binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.convert import Checkpoint


@overload
def checkpoint(x: Callable[P, R]) -> Callable[P, R]: ...
@overload
def checkpoint(x: Operand[AnyValue]) -> AnyValue: ...
def checkpoint(x: Any) -> Any:
    """x itself, marked to be kept: no policy or budget drops it and computes it again.

    Where a step is compiled to use less memory (``compile(checkpoint=..., memory_budget=...)``),
    the values between marked ones are what is recomputed first. Of a function it is one that marks
    the values that it takes and gives, so that what it computes inside is recomputed first; of
    tensors, one that records nothing and runs once more when it is differentiated.

    Args:
        x: a value; or a function of values in containers.

    Returns:
        The value, or the function.

    Raises:
        DTypeError: something that is no value, array or function.

    >>> import staticgrad as sg
    >>> x, w = sg.input("x", (3,), "float64"), sg.parameter("w", [1.0, 2.0, 3.0])
    >>> layer = checkpoint(lambda x: sg.tanh(x * w))
    >>> sg.evaluate(layer(layer(x)).sum(), {"x": [0.0, 0.0, 0.0]})
    array(0.)
    """
    if not callable(x) or isinstance(x, Value):
        return Checkpoint()(x)
    f: Callable[..., Any] = x

    @functools.wraps(f, updated=())
    def marked(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten((args, kwargs))
        kind: Any = binding_kind(tuple(leaves))
        if kind is not Symbolic.kind:
            return kind.recomputed(functools.partial(f, **kwargs), args)
        args, kwargs = unflatten(tree, [_marked(leaf) for leaf in leaves])
        return mapped(_marked, f(*args, **kwargs))

    return marked


def _marked(leaf: Any) -> Any:
    return Checkpoint()(leaf) if isinstance(leaf, Value) else leaf
