"""Programs over parameters that run at once: what a traced function does, line by line.

In ``eager_mode`` a parameter alone is the tensor of its present array. ``run_at_once`` runs a
function as ``sg.function`` would run its graph: what reads a parameter after its update reads the
new value. An update is written when it is first read, or when the function has ended; if the
function raises, all old values are restored. So the gradients of the last step are computed by the
last use of the tape. ``minimize`` finds gradients on the tape; the rest is the rule of the
optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.differentiate import check_connected, grad
from staticgrad.eager.stepping import prepare_step
from staticgrad.eager.tensor import TapeLeaf, Tensor, leaf_of
from staticgrad.errors import ArgumentError
from staticgrad.errors.tracebacks import make_boundaries
from staticgrad.functions.evaluation_modes import warn_of_evaluation
from staticgrad.functions.streams import GENERATORS
from staticgrad.language.calls.execution import computing, holding, in_graphs
from staticgrad.language.ir.graph import ancestors
from staticgrad.language.ir.nodes import (
    Node,
    Parameter,
    Session,
    Symbolic,
    check_updates,
    running_session,
    traced_in,
)
from staticgrad.language.ir.op import Array, Input, ParameterLeaf
from staticgrad.language.ir.pairs import is_complex_data
from staticgrad.language.ir.value import Value
from staticgrad.language.storage.parameter import ParameterStore, change_together
from staticgrad.language.trees import flatten, unflatten
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.records import dataclass


@make_boundaries
class eager_mode(computing):  # noqa: N801 - as the others in ``modes.py``
    """Compute at once inside of this context, unless an operand is a graph's value.

    A parameter alone is the tensor of its present array, arrays and numbers alone become tensors,
    ``sg.zeros`` and others give tensors, and generators draw them. ``loss.backward()`` leaves
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


@contextmanager
def at_once(arrays: Sequence[Any]) -> Iterator[_Run]:
    """Run a function eagerly on ``inputs`` in this context; restore old values if it raises."""
    noted = Session(computes=True)
    run = _Run(noted)
    noted.settle = run.settle
    try:
        with traced_in(noted), eager_mode():
            noted.inputs = [_make_argument(array) for array in arrays]
            yield run
    except BaseException:
        run.restore()
        raise
    finally:
        noted.settle = None


class _Run:
    """The writes of a function that runs at once.

    ``arrays_before`` are the arrays of parameters that have been written, as they were at first.
    """

    def __init__(self, noted: Session) -> None:
        self.noted = noted
        self.arrays_before: dict[ParameterStore, Array] = {}
        self.updated: dict[Node, Parameter] = {}

    def settle(self) -> None:
        """Write the pending updates of an eager run, since the program reads a parameter."""
        noted = self.noted
        for p, _ in noted.updates:
            self.updated[p.node] = p
            if p.store not in self.arrays_before:
                self.arrays_before[p.store] = p.store.array.copy()
        settle, noted.settle = noted.settle, None  # what is written reads old values
        try:
            _write_updates(noted, retain_graph=True)
        finally:
            noted.settle = settle
        noted.updates, noted.tensors, noted.due = [], {}, []
        noted.pending.clear()

    def restore(self) -> None:
        """Restore the parameters' values from before an eager run."""
        self.noted.pending.clear()
        self.noted.present.clear()

        def write() -> None:
            for store, array in self.arrays_before.items():
                np.copyto(store.array, array)

        change_together(self.arrays_before, write)


def run_at_once(call: Callable[[list[Tensor]], Any], arrays: Sequence[Any]) -> Any:
    """Run a function on tensors of these arrays, eagerly, and return the leaves of its result.

    Updates are written, all or none; the generators that it drew from advance by a step.
    """
    streams_before = {generator: generator.streams for generator in list(GENERATORS)}
    with at_once(arrays) as run:
        noted = run.noted
        results_tree = call(list(noted.inputs or ()))
        for generator in list(GENERATORS):
            step = generator.step
            has_drawn = generator.streams > streams_before.get(generator, 0)
            updated = run.updated.keys() | noted.pending.keys()
            if has_drawn and isinstance(step, Parameter) and step.node not in updated:
                noted.update(step, step + np.uint64(1))
        leaves, tree = flatten(results_tree)
        results = [_array(leaf) for leaf in leaves]
        noted.inputs = None
        del results_tree, leaves  # the tape, but for what steps of optimizers need
    try:
        _write_updates(noted, retain_graph=False)
    except BaseException:
        run.restore()
        raise
    return unflatten(tree, results)


def _make_argument(array: Any) -> Any:
    """Make an eager tensor of an argument array, by which the function may differentiate."""
    if is_complex_data(array):
        return Tensor(array, requires_grad=True)
    if isinstance(array, Value):
        tensor = Tensor.lift(array)
    else:
        view = np.asarray(array).view(np.ndarray)
        view.flags.writeable = False  # nothing is written into the caller's array
        tensor = Tensor.of(view)
    tensor.requires_grad = tensor.type.dtype.is_float
    return tensor


def _array(leaf: Any) -> Any:
    if not isinstance(leaf, Value) or not (leaf.computes or leaf.is_stored):
        return leaf
    array: Array = Tensor.lift(leaf).array
    return array.copy() if array.base is not None or leaf.is_stored else array


@dataclass(frozen=True)
class _PendingGradients:
    """The gradients of a loss by leaves, for which ``inputs`` stand in the next values."""

    loss: Tensor
    leaves: Sequence[Tensor]
    inputs: Sequence[Node]


def _write_updates(noted: Session, retain_graph: bool) -> None:
    """Compute and write pending updates of parameters, all of them or none.

    Gradients are computed here, by the last use of a tape, so that what the forward pass keeps is
    let go of on the way.
    """
    check_updates(noted.updates, computed=True)
    arrays = {node: tensor.array for node, tensor in noted.tensors.items()}
    while noted.due:
        due = noted.due.pop(0)
        slopes = grad(due.loss, due.leaves, retain_graph=retain_graph or bool(noted.due))
        arrays.update((node, g.array) for node, g in zip(due.inputs, slopes, strict=True))
        del due, slopes
    stores = {p.store for p, _ in noted.updates}
    writes: list[tuple[Array, Any]] = []
    for p, value in noted.updates:
        of_graph = isinstance(value, Symbolic) and not value.is_stored
        writes.append((p.store.array, value if of_graph else Tensor.lift(value).array))
    for node in ancestors([value for _, value in writes if isinstance(value, Symbolic)]):
        if isinstance(node.op, ParameterLeaf):
            store = node.op.store
            stores.add(store)
            arrays[node] = store.array
            first = noted.present.get(store)  # what it held when the run read it first
            if first is not None and not np.may_share_memory(first.data, store.array):
                arrays[node] = first.array
            first = None
    noted.present.clear()  # with the last tensor of a parameter nothing shares its array
    change_together(stores, prepare_step(writes, arrays))


@dataclass(frozen=True)
class _RuleGraph:
    """The graph of an optimizer's rule: the next values as functions of ``inputs``.

    ``stand_in_tensors`` are the tensors for which other inputs stand, as a learning rate;
    ``reads`` are the parameters whose present values it reads.
    """

    inputs: Sequence[Node]
    stand_in_tensors: Mapping[Node, Tensor]
    updates: Mapping[Parameter, Any]
    reads: frozenset[Node]


#: By optimizer, and the way of its step, the parameters and the types of their gradients: what was
#: made before.
_rules: Final[WeakKeyDictionary[object, dict[Any, _RuleGraph]]] = WeakKeyDictionary()


def _rule_graph(
    optimizer: object,
    types: Mapping[Parameter, TensorType],
    advance: Callable[[Any], Any],
    way: Hashable | None,
) -> _RuleGraph:
    """Build the graph of an optimizer's step for eager tensors, cached by its kind (``way``)."""
    graphs = {} if way is None else _rules.setdefault(optimizer, {})
    key = (way, *((p.node, type) for p, type in types.items()))
    if key not in graphs:
        tensors: dict[Node, Tensor] = {}

        inputs = {p: rule_input(type) for p, type in types.items()}
        with standing_in(tensors):
            updates = advance(inputs)
        nodes = ancestors([update for update in updates.values() if isinstance(update, Symbolic)])
        reads = [node for node in nodes if isinstance(node.op, ParameterLeaf)]
        graphs[key] = _RuleGraph(
            [value.node for value in inputs.values()], tensors, updates, frozenset(reads)
        )
    return graphs[key]


def rule_input(type: TensorType) -> Symbolic:
    """An input of the graph of a rule."""
    result: Symbolic = Symbolic.bind(Input("x", type), ())
    return result


@contextmanager
def standing_in(tensors: dict[Node, Any]) -> Iterator[Callable[[Any], Symbolic]]:
    """Build graphs in this context whose inputs stand for eager tensors, noted in ``tensors``.

    It gives the function that makes the input of a tensor, once for each.
    """
    stand_ins: dict[int, Symbolic] = {}

    def stand_in(tensor: Tensor) -> Symbolic:
        if id(tensor) not in stand_ins:
            stand_ins[id(tensor)] = rule_input(tensor.type)
            tensors[stand_ins[id(tensor)].node] = tensor
        return stand_ins[id(tensor)]

    with in_graphs(), holding(stand_in):
        yield stand_in


def next_values(noted: Session) -> AbstractContextManager[object]:
    """Inside, next values are made as values of a graph, of others such, parameters and tensors."""
    return standing_in(noted.tensors)


@contextmanager
def _collecting() -> Iterator[Session]:
    """Collect updates of parameters in this context, and write them together at its end."""
    noted = running_session()
    if noted is not None:
        yield noted
        return
    noted = Session(computes=True)
    with traced_in(noted):
        yield noted
    _write_updates(noted, retain_graph=True)


def minimize(
    loss: Tensor,
    params: Sequence[Parameter] | None,
    optimizer: object,
    advance: Callable[[Any], Mapping[Parameter, Any]],
    way: Hashable | None,
) -> None:
    """Step an optimizer on the tape: now, or at the end of a function that runs eagerly.

    ``way``: what ``advance`` does beside the rule of the optimizer; None: it differs every time.
    """
    session = running_session()
    with _collecting() as noted:
        if params is None:
            params = read_by(loss, noted.updated_by_others(optimizer))
        warn_of_evaluation(type(optimizer).__name__, [p.store for p in params], session)
        leaves = [leaf_of(p) for p in params]
        check_connected(loss, leaves)
        types = {p: leaf.type for p, leaf in zip(params, leaves, strict=True)}
        rule = _rule_graph(optimizer, types, advance, way)
        _note(rule, noted, optimizer)
        noted.due.append(_PendingGradients(loss, leaves, rule.inputs))


def step_now(
    grads: Mapping[Parameter, Any],
    optimizer: object,
    advance: Callable[[Any], Mapping[Parameter, Any]],
) -> None:
    """Step an optimizer by given gradients: now, or at the end of a function that runs eagerly."""
    warn_of_evaluation(type(optimizer).__name__, [p.store for p in grads], running_session())
    with _collecting() as noted:
        tensors = {p: Tensor.lift(gradient) for p, gradient in grads.items()}
        types = {p: t.type for p, t in tensors.items()}
        rule = _rule_graph(optimizer, types, advance, "gradients")
        _note(rule, noted, optimizer)
        noted.tensors.update(zip(rule.inputs, tensors.values(), strict=True))


def _note(rule: _RuleGraph, noted: Session, optimizer: object) -> None:
    if noted.settle is not None and not noted.pending.keys().isdisjoint(
        rule.reads.union(p.node for p in rule.updates)
    ):
        noted.settle()
    noted.tensors.update(rule.stand_in_tensors)
    noted.step(optimizer, rule.updates)


def read_by(loss: Any, excluded: Collection[Node]) -> list[Parameter]:
    """List parameters on the tape behind a loss, but ``excluded`` ones, in order of creation."""
    edges = [edge for node in tape.nodes_behind([loss.edge]) for edge in node.operands]
    owners = {edge.tensor() for edge in (loss.edge, *edges) if edge is not None}
    read = [owner.parameter for owner in owners if isinstance(owner, TapeLeaf)]
    free = [p for p in read if p is not None and p.node not in excluded]
    parameters = sorted(free, key=lambda p: p.node.serial)
    if not parameters:
        raise ArgumentError(
            "minimize: the loss depends on no parameter that is free",
            hint='sg.parameter("w", array) makes one; w.value, an array, is a constant\n'
            "one of integers or bools has no gradient",
        )
    return parameters
