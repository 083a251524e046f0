"""What a policy of ``sg.checkpoint_policies`` keeps of a computation."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.calls import raised_inside
from staticgrad.errors.wording import did_you_mean, listed, shown
from staticgrad.functions.checkpoints import policies as checkpoint_policies
from staticgrad.functions.checkpoints.saveable import Saveable, SaveableRule, parts_of
from staticgrad.ir.graph import Node
from staticgrad.ir.op import Op
from staticgrad.ops.marks import Mark, name_of
from staticgrad.ops.movement import Reshape, Transpose
from staticgrad.types.tensor import TensorType

#: Whether each part of a policy keeps a result.
Verdicts = tuple[bool, ...]
#: Ops whose result is the bytes of the operand, all of them.
SAME_BYTES: Final = (Mark, Reshape, Transpose)


def verdicts(parts: Sequence[Saveable], op: Op, types: Sequence[TensorType]) -> Verdicts:
    """What each part of a policy says of an op on operands of these types."""
    found = []
    for part in parts:
        try:
            said: Any = part(op, *types)
        except TypeError as error:
            if raised_inside(error):
                raise
            raise ArgumentError(
                f"the policy {_named(part)} does not take an op and the types of its operands",
                hint="def policy(op, *types): return op.name == 'matmul'",
            ) from None
        if not isinstance(said, bool | np.bool_):
            raise ArgumentError(
                f"the policy {_named(part)} gives {shown(said)} for {op.name}",
                hint="True: the result is kept; False: it is computed again",
            )
        found.append(bool(said))
    return tuple(found)


def under_name(parts: Sequence[Saveable], mark: Op, base: Verdicts) -> Verdicts:
    """What the parts say of a value that has a name, given what they said of what made it.

    A value and its name are one: kept under the name it is kept; refused under it, it is not.
    """
    return tuple(
        bool(part(mark)) or (said and name_of(mark) not in getattr(part, "refused", ()))
        for part, said in zip(parts, base, strict=True)
    )


def kept_values(policy: Saveable, nodes: Iterable[Node]) -> list[Node]:
    """Those of ``nodes``, operands first, whose results the policy keeps."""
    parts = parts_of(policy)
    said: dict[Node, Verdicts] = {}
    names: dict[str, None] = {}
    for node in nodes:
        if node.is_leaf:
            continue
        op = node.op
        said[node] = verdicts(parts, op, [arg.type for arg in node.args])
        if name_of(op):
            names[name_of(op)] = None
            for base in _bases(node, said):
                said[base] = under_name(parts, op, said[base])
    check_names(policy, names)
    return [node for node, found in said.items() if any(found)]


def _bases(node: Node, among: Mapping[Node, object]) -> Iterable[Node]:
    """What has the bytes of a node's result, and lies below it."""
    while isinstance(node.op, SAME_BYTES) and node.args[0].node in among:
        node = node.args[0].node
        yield node


def check_names(policy: Saveable, known: Iterable[str]) -> None:
    """Refuse a policy with a name that no value has."""
    names = [*known]
    for part in parts_of(policy):
        for name in getattr(part, "names", ()):
            if name not in names:
                there = f"the names here are {listed(names)}" if names else "no value here has one"
                raise ArgumentError(
                    f"{_named(policy)}: no value is named {name!r}",
                    hint=f"{did_you_mean(name, names)}{there}\n"
                    f"h = sg.checkpoint_name(h, {name!r}) gives a value its name, inside of the"
                    " function; names in bodies of loops do not count: a loop keeps its carries",
                )


def _named(policy: object) -> str:
    return getattr(policy, "__name__", repr(policy))


# -- policies as text -----------------------------------------------------------------------------


def text_of(policy: Saveable) -> str:
    """A policy as text that ``policy_named`` reads; empty where a function from outside decides."""
    text = _named(policy)
    own = all(
        isinstance(part, SaveableRule)
        or getattr(checkpoint_policies, getattr(part, "__name__", "_"), None) is part
        for part in parts_of(policy)
    )
    return text if own else ""


def policy_named(text: str) -> Saveable | None:
    """The policy of a text: ``dots_saveable``, ``save_only_these_names('a')``; None: it is none."""
    try:
        return _policy_of(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArgumentError):
        return None


def _policy_of(tree: ast.expr) -> Any:
    """A name, a text, or a function of them."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return tree.value
    call = tree if isinstance(tree, ast.Call) else None
    name = call.func if call is not None else tree
    if not isinstance(name, ast.Name) or name.id not in checkpoint_policies.__all__:
        raise ValueError(ast.unparse(tree))
    found = getattr(checkpoint_policies, name.id)
    if (call is not None) is not name.id.startswith("save_"):
        raise ValueError(ast.unparse(tree))
    return found if call is None else found(*map(_policy_of, call.args))
