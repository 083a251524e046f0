"""Marks for policies of recomputation: what shall be kept, or computed again first."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np

from staticgrad import checkpoint_policies as checkpoint_policies
from staticgrad.errors import ArgumentError
from staticgrad.errors.calls import raised_inside
from staticgrad.errors.wording import did_you_mean, list_names, quote
from staticgrad.functions.call_types import P, R
from staticgrad.functions.checkpoints.saveable import (
    Saveable,
    SaveableRule,
    names_given,
    parts_of,
)
from staticgrad.language.calls.execution import is_holding
from staticgrad.language.ir.graph import Input, Node, Symbolic, ancestors, bodies_of, next_serial
from staticgrad.language.ir.kinds import AnyValue, ArrayLike, binding_kind, of_kind
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.marks import Checkpoint, CheckpointName, Mark, Recomputed, name_of
from staticgrad.language.ops.movement import Reshape, Transpose
from staticgrad.language.trees import flatten, map_leaves, unflatten
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.contexts import waits_or_yields

#: Ops whose result is the bytes of the operand, all of them.
SAME_BYTES: Final = (Mark, Reshape, Transpose)


def is_saved(parts: Sequence[Saveable], op: Op, types: Sequence[TensorType]) -> bool:
    """Return whether a part of a policy keeps the result of an op on operands of these types."""
    for part in parts:
        try:
            saved: Any = part(op, *types)
        except TypeError as error:
            if raised_inside(error):
                raise
            raise ArgumentError(
                f"the policy {_name_of(part)} does not take an op and the types of its operands",
                hint="def policy(op, *types): return op.name == 'matmul'",
            ) from None
        if not isinstance(saved, bool | np.bool_):
            raise ArgumentError(
                f"the policy {_name_of(part)} gives {quote(saved)} for {op.name}",
                hint="True: the result is stored; False: it is computed again",
            )
        if saved:
            return True
    return False


def kept_values(policy: Saveable, nodes: Iterable[Node]) -> list[Node]:
    """Return the values of ``nodes`` (operands first) that the policy keeps, also by a name."""
    parts = parts_of(policy)
    is_kept: dict[Node, bool] = {}
    names: dict[str, None] = {}
    for node in nodes:
        if node.is_leaf:
            continue
        op = node.op
        is_kept[node] = _keeps(parts, node)
        if name_of(op):
            names[name_of(op)] = None
            if is_kept[node]:
                is_kept.update(dict.fromkeys(_bases(node, is_kept), True))
    check_names(policy, names)
    return [node for node, saved in is_kept.items() if saved]


def _keeps(parts: Sequence[Saveable], node: Node) -> bool:
    """Return whether a part of a policy keeps the result of a node, or a value of its bodies."""
    if is_saved(parts, node.op, [arg.type for arg in node.args]):
        return True
    inside = (inner for body in bodies_of(node) for inner in body.nodes if not inner.is_leaf)
    return any(_keeps(parts, inner) for inner in inside if not name_of(inner.op))


def _bases(node: Node, nodes: Mapping[Node, object]) -> Iterable[Node]:
    while isinstance(node.op, SAME_BYTES) and node.args[0].node in nodes:
        node = node.args[0].node
        yield node


def check_names(policy: Saveable, value_names: Iterable[str]) -> None:
    """Refuse a policy with a name that no value has."""
    names = [*value_names]
    for part in parts_of(policy):
        for name in getattr(part, "names", ()):
            if name not in names:
                note = (
                    f"the names here are {list_names(names)}" if names else "no value here has one"
                )
                raise ArgumentError(
                    f"{_name_of(policy)}: no value is named {name!r}",
                    hint=f"{did_you_mean(name, names)}{note}\n"
                    f"h = sg.checkpoint_name(h, {name!r}) gives a value its name, inside of the"
                    " function; names in bodies of loops do not count",
                )


def _name_of(policy: object) -> str:
    return getattr(policy, "__name__", repr(policy))


# -- policies as text -----------------------------------------------------------------------------


def text_of(policy: Saveable) -> str:
    """A policy as text that ``policy_named`` reads; empty where a function from outside decides."""
    text = _name_of(policy)
    is_readable = all(
        isinstance(part, SaveableRule)
        or getattr(checkpoint_policies, getattr(part, "__name__", "_"), None) is part
        for part in parts_of(policy)
    )
    return text if is_readable else ""


def policy_named(text: str) -> Saveable | None:
    """The policy of a text: ``dots_saveable``, ``save_only_these_names('a')``; None: it is none."""
    try:
        return _policy_of(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArgumentError):
        return None


def _policy_of(tree: ast.expr) -> Any:
    """Read a recomputation policy: a name, a text, or a function of them."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return tree.value
    call = tree if isinstance(tree, ast.Call) else None
    name = call.func if call is not None else tree
    if not isinstance(name, ast.Name) or name.id not in checkpoint_policies.__all__:
        raise ValueError(ast.unparse(tree))
    policy = getattr(checkpoint_policies, name.id)
    if (call is not None) is not name.id.startswith("save_"):
        raise ValueError(ast.unparse(tree))
    return policy if call is None else policy(*map(_policy_of, call.args))


@overload
def checkpoint(x: Callable[P, R], policy: Saveable | None = None) -> Callable[P, R]: ...
@overload
def checkpoint(x: ArrayLike[AnyValue]) -> AnyValue: ...
def checkpoint(x: Any, policy: Any = None) -> Any:
    """Return x, marked to be stored: no policy or budget recomputes it.

    Where a step is compiled to use less memory (``compile(checkpoint=..., memory_budget=...)``),
    the values between marked ones are what is recomputed first. Of a function it is one that marks
    the values that it takes and gives, so that what it computes inside is recomputed first; of
    tensors, one that records nothing and runs once more when it is differentiated.

    With a ``policy`` gradients of the function recompute everything that the policy does not save,
    even if memory is free. Its results and gradients keep their bytes. A loop in it is saved,
    with the carries of its iterations, if the policy saves the loop or a value of its body.

    Args:
        x: a value; or a function of values in containers.
        policy: of a function, what is saved of what it computes: one of
            ``sg.checkpoint_policies``, or a function ``policy(op, *types)`` of an op and the types
            of its operands that says whether the result is.

    Raises:
        ArgumentError: a function that waits or yields; no policy, or one of a value; when the
            function is called, a name in the policy that no value has.

    >>> x, w = sg.input("x", (3,), "float64"), sg.parameter("w", [1.0, 2.0, 3.0])
    >>> layer = checkpoint(lambda x: sg.tanh(x * w))
    >>> sg.evaluate(layer(layer(x)).sum(), {"x": [0.0, 0.0, 0.0]})
    array(0.)
    >>> again = checkpoint(lambda x: sg.tanh(x * w), sg.checkpoint_policies.nothing_saveable)
    >>> graph = sg.Graph({"dw": sg.grad(again(x).sum(), w)})  # of the sum alone
    >>> str(graph).count("again("), str(graph).count("tanh")
    (2, 1)
    """
    if not callable(x) or isinstance(x, Value):
        if policy is not None:
            raise ArgumentError(
                f"checkpoint: a policy says what is saved of what a function computes, and"
                f" {quote(x)} is a value",
                hint="sg.checkpoint(f, policy=...)(x); a value is kept by sg.checkpoint(x), and"
                ' named by sg.checkpoint_name(x, "name")',
            )
        return Checkpoint()(x)
    f = _check_function(x, policy)

    @functools.wraps(f, updated=())
    def apply_with_marks(*args: Any, **kwargs: Any) -> Any:
        """Call the function with its operands marked as the begin of a checkpoint."""
        leaves, tree = flatten((args, kwargs))
        kind: Any = binding_kind(tuple(leaves))
        if is_holding():  # what is mapped over tensors may be read without being an argument
            leaves = [of_kind(x, Symbolic) if isinstance(x, Value) else x for x in leaves]
            args, kwargs = unflatten(tree, leaves)
        elif kind is not Symbolic.kind:
            return kind.run_checkpointed(functools.partial(f, **kwargs), args, policy)
        if policy is not None:
            return _mark_region(f, policy, args, kwargs)
        args, kwargs = unflatten(tree, [_mark_leaf(leaf) for leaf in leaves])
        return map_leaves(_mark_leaf, f(*args, **kwargs))

    return apply_with_marks


def _check_function(f: Callable[..., Any], policy: Any) -> Callable[..., Any]:
    """Refuse a function for ``checkpoint`` that is asynchronous or a generator."""
    if waits_or_yields(f):
        raise ArgumentError(
            f"checkpoint: {quote(f)} waits or yields, and has no result when it is called",
            hint="return what is computed: def, not async def; return, not yield",
        )
    if policy is not None:
        parts_of(policy)
    return f


def checkpoint_name(x: ArrayLike[AnyValue], name: str) -> AnyValue:
    """Return x with a name, a text, that checkpoint policies can refer to.

    ``sg.checkpoint_policies.save_only_these_names("h")`` and others refer to names. Several
    values may share one. It stays in the text of graphs and in files, and costs nothing in a run.

    >>> h = sg.checkpoint_name(sg.exp(sg.input("x", (3,))), "h")
    >>> 'checkpoint_name{known_as="h"}(' in str(sg.Graph(h))
    True
    """
    return CheckpointName(names_given("checkpoint_name", [name])[0])(x)


def _may_begin(value: Symbolic) -> bool:
    return not value.node.is_leaf or isinstance(value.node.op, Input)


def _mark_leaf(leaf: Any) -> Any:
    return Checkpoint()(leaf) if isinstance(leaf, Value) else leaf


def _mark_region(f: Callable[..., Any], policy: Saveable, args: Any, kwargs: Any) -> Any:
    """Mark what ``f`` computes as a checkpoint region, with its saved values."""
    since = next_serial()
    results = f(*args, **kwargs)
    leaves = [leaf for leaf in flatten(results)[0] if isinstance(leaf, Symbolic)]
    inside = sorted(ancestors(leaves, oldest=since), key=lambda node: node.serial)
    saved = [value for node in kept_values(policy, inside) for value in node.values]
    inner_nodes = {*inside}
    read = (arg for node in inside for arg in node.args)
    # Inputs may stand for computed values, as those of a function that is mapped or a loop's body.
    begins = [
        *{arg.key: arg for arg in read if arg.node not in inner_nodes and _may_begin(arg)}.values()
    ]

    def close_leaf(leaf: Any) -> Any:
        is_new = isinstance(leaf, Symbolic) and leaf.node.serial > since and not leaf.node.is_leaf
        if not is_new or not leaf.dtype.is_float:
            return leaf
        return Recomputed(len(saved))(leaf, *begins, *saved)

    return map_leaves(close_leaf, results)
