"""Programs over parameters that run at once: what a traced function does, line by line.

In ``eager_mode`` a parameter alone is the tensor of its present array. ``run_at_once`` runs a
function as ``sg.function`` would run its graph: what it updates is written when it has ended, so
that all of it reads the old values. ``minimize`` finds gradients on the tape; the rest is the rule
of the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.differentiate import grad
from staticgrad.eager.modes import no_grad
from staticgrad.eager.tensor import TapeLeaf, Tensor, leaf_of
from staticgrad.errors import ArgumentError
from staticgrad.functions.draws import GENERATORS
from staticgrad.functions.trees import flatten, unflatten
from staticgrad.ir.calls import Constructed
from staticgrad.ir.nodes import Node, Parameter
from staticgrad.ir.op import Array
from staticgrad.ir.roots import check_updates
from staticgrad.ir.session import Session, running_session, traced_in
from staticgrad.ir.value import Value
from staticgrad.ir.worlds import computing
from staticgrad.storage.parameter import write_all

Updates = Sequence[tuple[Parameter, Any]]


class eager_mode(computing, metaclass=Constructed):  # noqa: N801 - as its kin in ``modes.py``
    """Inside, what no other operand says computes at once: ``with sg.eager_mode(): ...``.

    A parameter alone is the tensor of its present array, arrays and numbers alone become tensors,
    ``sg.zeros`` and its kin give tensors, and generators draw them. ``loss.backward()`` leaves
    gradients in ``p.grad``; ``p.update(value)`` and ``opt.minimize(loss)`` write at once. Values of
    a graph stay what they are, and what ``sg.function`` compiled runs compiled. It belongs to the
    thread, or task, that enters it; also a decorator.

    >>> import numpy as np, staticgrad as sg
    >>> w = sg.parameter("w", np.array([1.0, 2.0]))
    >>> with sg.eager_mode():
    ...     (w * w).sum().backward()
    >>> w.grad
    array([2., 4.])
    """

    def __init__(self) -> None:
        super().__init__(Tensor)


def run_at_once(call: Callable[[list[Tensor]], Any], arrays: Sequence[Any]) -> Any:
    """What ``call`` gives of tensors of these arrays: its leaves as arrays. Then it is written what
    it updates, all or nothing, and the generators that it drew from go on by a step.

    Raises:
        GraphError: updates that a graph refuses as well.
    """
    noted = Session(computes=True)
    before = {each: each.streams for each in list(GENERATORS)}
    with traced_in(noted), eager_mode():
        found = call([_argument(array) for array in arrays])
        updated = {parameter.node for parameter, _ in noted.updates}
        for each in list(GENERATORS):
            step = each.step
            moved = each.streams > before.get(each, 0)
            if moved and isinstance(step, Parameter) and step.node not in updated:
                noted.updates.append((step, step + np.uint64(1)))
        leaves, tree = flatten(found)
        results = [_array(leaf) for leaf in leaves]
    _write(noted.updates)
    return unflatten(tree, results)


def _argument(array: Any) -> Tensor:
    """A tensor of an array, by which the function may differentiate."""
    tensor = Tensor.lift(array)
    tensor.requires_grad = tensor.type.dtype.is_float
    return tensor


def _array(leaf: Any) -> Any:
    """A result as the array that a compiled program would give."""
    if not isinstance(leaf, Value) or not (leaf.computes or leaf.is_stored):
        return leaf
    array: Array = Tensor.lift(leaf).array
    return array.copy() if array.base is not None or leaf.is_stored else array


def _write(updates: Updates) -> None:
    """Write next values, each of its parameter's type: all of them or none."""
    check_updates(updates, computed=True)
    write_all([(p.store, Tensor.lift(value).array) for p, value in updates])


@contextmanager
def _noting() -> Iterator[None]:
    """Inside, updates are noted, and written together at the end, by the function that runs."""
    if running_session() is not None:
        yield
        return
    noted = Session(computes=True)
    with traced_in(noted):
        yield
    _write(noted.updates)


def minimize(
    loss: Any, params: Sequence[Parameter] | None, apply: Callable[[Any], Mapping[Parameter, Any]]
) -> None:
    """A step of an optimizer: now, or where a function runs at once, when it ends.

    Args:
        loss: a tensor of one element.
        params: what to step; None: all that the loss depends on and that was not updated before.
        apply: from gradients by parameter to updates.

    Raises:
        ArgumentError: it depends on no parameter. Else as ``grad``.
    """
    noted = running_session()
    if params is None:
        params = read_by(loss, {p.node for p, _ in noted.updates} if noted else ())
    slopes = grad(loss, [leaf_of(p) for p in params], retain_graph=True)
    step_now(dict(zip(params, slopes, strict=True)), apply)


def step_now(
    grads: Mapping[Parameter, Any], apply: Callable[[Any], Mapping[Parameter, Any]]
) -> None:
    """A step by these gradients, arrays or tensors: now, or when the function that runs ends.

    Args:
        grads: by parameter.
        apply: from them to updates.
    """
    with _noting():
        with no_grad(), eager_mode():
            found = apply({p: Tensor.lift(gradient) for p, gradient in grads.items()})
        for parameter, value in found.items():
            parameter.update(value)


def read_by(loss: Any, updated: Collection[Node]) -> list[Parameter]:
    """The parameters that a loss depends on, but for some, in the order in which they were made.

    Raises:
        ArgumentError: there are none.
    """
    edges = [edge for node in tape.nodes_behind([loss.edge]) for edge in node.operands]
    owners = {edge.tensor() for edge in (loss.edge, *edges) if edge is not None}
    read = [owner.parameter for owner in owners if isinstance(owner, TapeLeaf)]
    free = [p for p in read if p is not None and p.node not in updated]
    found = sorted(free, key=lambda p: p.node.serial)
    if not found:
        raise ArgumentError(
            "minimize: the loss depends on no parameter that is free",
            hint='sg.parameter("w", array) makes one; w.value, an array, is a constant',
        )
    return found
