"""Values that exist, over other values: calls of graphs, clones with replacement, batches.

A graph that is called gives its outputs over the arguments, as ``OpFromGraph`` does in PyTensor and
``closed_call`` in JAX. Its nodes become nodes of the caller (as those of PyTensor's
``OpFromGraph(inline=True)``), so passes, derivatives and kernels see through the call, and its name
stays as a scope. ``replace`` is PyTensor's ``clone_replace``, ``vectorize`` is its
``vectorize_graph``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import CodeType
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    GraphError,
    RankError,
    ShapeError,
    StaticgradError,
    UnknownArgumentError,
)
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import did_you_mean, kind_of, list_names, quote
from staticgrad.language.calls.arguments import computed_at_once
from staticgrad.language.calls.execution import are_plain, present
from staticgrad.language.ir.bodies import body_input
from staticgrad.language.ir.copies import Key
from staticgrad.language.ir.graph import (
    Graph,
    Input,
    Node,
    Parameter,
    Symbolic,
    ancestors,
    register_call,
)
from staticgrad.language.ir.kinds import binding_kind, of_kind
from staticgrad.language.ir.nodes import describe, running_session, takes_updates
from staticgrad.language.ir.op import Constant, ParameterLeaf
from staticgrad.language.ir.pairs import Complex
from staticgrad.language.ir.substitution import (
    SizeSolver,
    Substitution,
    check_guards,
    inputs_behind,
    substitute_op,
    substitute_type,
)
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.batching import substitute_batches
from staticgrad.language.ops.elementwise import lift_operand, strong_dtype
from staticgrad.language.ops.movement import with_size
from staticgrad.language.ops.operands import as_value, check_equal, describe_operands
from staticgrad.language.trees import flatten, unflatten
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Named, Size, equal, named_sizes, substitute_size
from staticgrad.language.types.dtype import DType
from staticgrad.support.building import capture, current, running_program
from staticgrad.support.source import call_part, relocate

T = TypeVar("T")
#: Value -> what takes its place; or pairs of them.
Replacements = Mapping[Any, Any] | Iterable[tuple[Any, Any]]


class _Pair(NamedTuple):
    """A replaced value, what takes its place, and what errors call it."""

    name: str
    old: Symbolic
    new: Any


def replace(value: T, replacements: Replacements) -> T:
    """Return values over others: everything that they compute of ``old`` they compute of ``new``.

    PyTensor's ``clone_replace``. What depends on a replaced value is built once more, at the lines
    of the original; the rest is shared with it, and so is what several of the values share. All
    replacements happen at once: what a new value reads is not replaced in it. Bodies of loops,
    branches and checkpoints read outside values as operands, so these are replaced in them, too.
    A random draw keeps its key, and so draws the same numbers. The updates that modules make
    (running statistics) follow the values that they were computed of.

    Args:
        value: a value, or a tree of them; leaves that are no values stay.
        replacements: ``{old: new}``, or pairs of them. ``old`` is a value that ``value`` is
            computed of, an input, a parameter or an intermediate one; ``new`` is a value, an array
            or a number of its dtype and shape. Nothing is broadcast. A named size of ``old`` may
            become another size in ``new``: it is replaced in all that is built. Of an input that
            stays and has the size, too, the new value must have it; a run checks that.

    Returns:
        The same tree, of other values.

    Raises:
        GraphError: a replaced value that no value is computed of.
        DTypeError, RankError, ShapeError: a new value of another dtype, rank or shape.
        SizeGuardError: a condition on sizes does not hold for those of the new values.

    >>> import staticgrad as sg
    >>> x, y = sg.input("x", (3,), "float64"), sg.input("y", (3,), "float64")
    >>> z = (x * 2.0).sum()
    >>> print(sg.evaluate(replace(z, {x: sg.exp(y)}), {"y": [0.0, 0.0, 0.0]}))
    6.0
    """
    leaves, tree, pairs = _read(value, replacements, "replace")
    roots = [leaf for leaf in leaves if isinstance(leaf, Symbolic)]
    fixed = _fixed_sizes(roots, pairs)
    new, sizes = _match("replace", pairs, fixed)
    results = iter(Substitution(new, sizes).apply(roots))
    return unflatten(
        tree, [next(results) if isinstance(leaf, Symbolic) else leaf for leaf in leaves]
    )


def vectorize(value: T, replacements: Replacements) -> T:
    """Return values over batches: ``{x: batch}``, with the axes of elements of ``batch`` in front.

    PyTensor's ``vectorize_graph``: what ``sg.vmap`` does to a function, done to values that exist,
    by the same rules. Batches with more axes than their element have these in front; several
    batches meet from the last of these axes to the first. A replacement of the element's own rank
    is shared by all elements.

    What does not depend on a replaced value is shared by all elements, random draws included:
    ``sg.vmap`` of a function draws for each element.

    Args:
        value: a value, or a tree of them.
        replacements: ``{old: batch}``, or pairs of them: values, arrays; ``batch`` has the dtype of
            ``old``, and its shape behind the axes of elements. A named size of ``old`` becomes that
            of the elements, as in ``replace``.

    Returns:
        The same tree; every value has the axes of elements in front.

    Raises:
        ArgumentError: no replacement has an axis of elements.
        GraphError: a replaced value that no value is computed of.
        DTypeError, RankError, ShapeError: a batch of another dtype, or elements of another shape;
            batches of different sizes.
        SizeGuardError: a condition on sizes does not hold for those of the elements.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (3,), "float64")
    >>> z = (x * x).sum()
    >>> batch = sg.input("batch", ("n", 3), "float64")
    >>> print(sg.evaluate(vectorize(z, {x: batch}), {"batch": np.ones((2, 3))}))
    [3. 3.]
    """
    leaves, tree, pairs = _read(value, replacements, "vectorize")
    roots = [leaf for leaf in leaves if isinstance(leaf, Symbolic)]
    if all(pair.new.ndim == pair.old.ndim for pair in pairs):
        raise ArgumentError(
            "vectorize: no replacement has an axis of elements in front",
            hint="values of the same rank: sg.replace(z, {x: new})",
            related=describe_operands(*(pair.new for pair in pairs)),
        )
    _refuse_updates(roots, pairs)
    results = iter(_vectorize_values(*_fit_elements(roots, pairs)))
    return unflatten(
        tree, [next(results) if isinstance(leaf, Symbolic) else leaf for leaf in leaves]
    )


# -- arguments of both ----------------------------------------------------------------------------


def _read(value: Any, replacements: Any, name: str) -> tuple[list[Any], Any, list[_Pair]]:
    """Read the arguments of a replacement: leaves, their tree, and pairs of real values."""
    if isinstance(value, Graph):
        graph = "graph" if not value.name.isidentifier() else value.name
        raise ArgumentError(
            f"{name}: a graph is closed; its values are replaced",
            hint=f"sg.Graph(sg.{name}({graph}.outputs, {{x: new}})), or call it: {graph}(x=new)",
        )
    leaves, tree = flatten(value)
    if any(getattr(leaf, "computes", False) for leaf in leaves):
        raise ArgumentError(
            f"{name}: a tensor has been computed, and nothing in it can be replaced",
            hint="call the function with other tensors; sg.vmap(f) maps it over batches",
        )
    if not any(isinstance(leaf, Symbolic) for leaf in leaves):
        hint = "sg.vmap(f) maps a function over batches" if callable(value) else ""
        raise ArgumentError(f"{name}: {quote(value)} is {kind_of(value)}, not a value", hint=hint)
    pairs = [*_pairs_of(name, replacements)]
    if not pairs:
        raise ArgumentError(
            f"{name}: there is nothing to replace", hint=f"sg.{name}(z, {{x: new}})"
        )
    seen: dict[Key, _Pair] = {}
    nodes = {*ancestors([leaf for leaf in leaves if isinstance(leaf, Symbolic)])}
    for pair in pairs:
        if pair.old.key in seen:
            raise ArgumentError(
                f"{name}: {pair.name} is replaced twice", related=describe_operands(pair.old)
            )
        seen[pair.old.key] = pair
        if pair.old.node not in nodes:
            same = [node for node in nodes if node.label and node.label == pair.old.node.label]
            raise GraphError(
                f"{name}: the values are not computed of {pair.name}",
                hint=f"they read another {same[0].label!r}" if same else _list_leaves(nodes),
                related=describe_operands(pair.old, *(node.values[0] for node in same)),
            )
    return leaves, tree, pairs


def _kind(data: Any) -> str:
    return "a value" if isinstance(data, Value) else kind_of(data)


def _list_leaves(nodes: Iterable[Node]) -> str:
    leaves = sorted((node for node in nodes if node.label), key=lambda node: node.serial)
    names = list_names([node.label for node in leaves])
    return f"they are computed of {names}" if leaves else "they are constants"


def _pairs_of(name: str, replacements: Any) -> Iterator[_Pair]:
    """Yield pairs of real values: two for a complex value, of its parts."""
    if isinstance(replacements, Mapping):
        replacements = replacements.items()
    elif isinstance(replacements, Value) or not isinstance(replacements, Iterable):
        raise ArgumentError(
            f"{name}: the replacements are {_kind(replacements)}, not a dict",
            hint=f"sg.{name}(z, {{x: new}})",
        )
    for pair in replacements:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ArgumentError(
                f"{name}: the replacements hold {quote(pair)}, not a pair",
                hint=f"sg.{name}(z, {{x: new}}), or pairs: [(x, new)]",
            )
        old, new = pair
        if not isinstance(old, Symbolic | Complex) or getattr(old, "computes", False):
            raise ArgumentError(
                f"{name}: {quote(old)} is {kind_of(old)}, not a value of the graph",
                hint=f"the values themselves are the keys: sg.{name}(z, {{x: new}})",
            )
        yield from _real_pairs(name, old, new)


def _real_pairs(name: str, old: Any, new: Any) -> Iterator[_Pair]:
    label = getattr(old, "name", "") or "the value"
    new = _as_operand(name, label, old.type, new)
    if not isinstance(old, Complex):
        yield _Pair(label, _stored_leaf(old), new)
        return
    if old.stored is not None:
        yield _Pair(label, _stored_leaf(old.stored), new.join_parts())
        return
    for part in ("re", "im"):
        if getattr(old, part) is None:
            raise GraphError(
                f"{name}: a value {old.type} was made without"
                f" {'a real' if part == 're' else 'an imaginary'} part, and nothing reads that",
                hint="replace what it was made of",
            )
    yield _Pair(label, old.re, new.real)
    yield _Pair(label, old.im, new.imag)


def _stored_leaf(value: Any) -> Symbolic:
    """Return a value without its class: a parameter is its leaf."""
    return Symbolic(value.node, value.index)


def _as_operand(
    name: str, label: str, like: TensorType, data: Any, kind: type[Any] = Symbolic
) -> Any:
    """Return what takes the place of a value, as a value of its dtype and of ``kind``.

    Arrays and numbers are converted as feeds are; values are not.
    """
    if isinstance(data, Value):
        (new,) = present((data,))
        if new.computes and not kind.computes:
            raise ArgumentError(
                f"{name}: {label} becomes a tensor, which is no value of the graph",
                hint="its array: t.numpy()",
            )
        new = of_kind(new, kind)
    else:
        converts = _converts(data, like.dtype)
        new = lift_operand(name, kind, data, like.dtype) if converts else as_value(data, kind)
    if new.dtype != like.dtype:
        raise DTypeError(
            f"{name}: {label} is {like}, and becomes {new.type}",
            hint=f"convert it: .astype({like.dtype.numpy.name!r})",
            related=describe_operands(new),
        )
    return new


def _converts(data: Any, target: DType) -> bool:
    """Return whether a number or an array is converted to a dtype, as where it is fed."""
    source = strong_dtype(called_name(), data)
    if source.is_complex:
        return target.is_complex
    return target.is_float or (source.is_integer and target.is_integer) or source.is_bool


# -- types ----------------------------------------------------------------------------------------


def _fixed_sizes(roots: Sequence[Symbolic], pairs: Sequence[_Pair]) -> dict[Named, Symbolic]:
    """Return the named sizes of inputs that are read besides what is replaced, with the input."""
    return {
        named: value
        for node in inputs_behind(roots, [pair.old.key for pair in pairs])
        for value in node.values
        for extent in value.shape
        for named in named_sizes(extent)
    }


def _match(
    name: str, pairs: Sequence[_Pair], fixed: Mapping[Named, Symbolic]
) -> tuple[dict[Key, Any], dict[Named, Size]]:
    """Unify the types of replaced values with those of the new ones.

    Return the new values by what they replace, and the named sizes that become others.
    """
    for pair in pairs:
        if pair.old.ndim != pair.new.ndim:
            raise RankError(
                f"{name}: {pair.name} is {pair.old.type}, and becomes {pair.new.type}",
                hint=_rank_hint(pair),
                related=describe_operands(pair.old, pair.new),
            )
    solver = SizeSolver(fixed)
    solver.solve([(pair.old.type, pair.new.type) for pair in pairs])
    new: dict[Key, Any] = {}
    for pair in pairs:
        value = pair.new
        for axis, extent in enumerate(pair.old.shape):
            size = substitute_size(extent, solver.sizes)
            text = f"{name}: {pair.name} is {pair.old.type}, and becomes {pair.new.type}"
            if not equal(size, value.shape[axis], text):
                raise _wrong_size(text, pair, axis, size, fixed)
            value = with_size(value, axis, size)
        new[pair.old.key] = value
    return new, solver.changes()


def _rank_hint(pair: _Pair) -> str:
    """Say what to write for a replacement of another rank."""
    more = pair.new.ndim - pair.old.ndim
    if more < 0:
        return f"nothing is broadcast: sg.broadcast_to(new, {_shape_text(pair.old.shape)})"
    ends = pair.new.shape[more:]
    fits = all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(pair.old.shape, ends, strict=True)
    )
    if not fits:
        return "it takes the shape of what it replaces"
    return "over a batch of elements: sg.vectorize(z, {x: batch})"


def _shape_text(shape: Sequence[Size]) -> str:
    inner = ", ".join(str(size) if isinstance(size, int) else repr(str(size)) for size in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def _wrong_size(
    text: str, pair: _Pair, axis: int, size: Size, fixed: Mapping[Named, Symbolic]
) -> ShapeError:
    keeping = [fixed[named] for named in named_sizes(pair.old.shape[axis]) if named in fixed]
    if keeping:
        label = keeping[0].name
        hint = f"{label} has the size {pair.old.shape[axis]}, too: replace it as well"
    elif pair.new.shape[axis] == 1:
        hint = f"nothing is broadcast: sg.broadcast_to(new, {_shape_text(pair.old.shape)})"
    else:
        was = "" if size == pair.old.shape[axis] else f", {pair.old.shape[axis]} being {size}"
        hint = f"axis {axis} has {pair.new.shape[axis]} elements, and {size} are expected{was}"
    return ShapeError(text, hint=hint, related=describe_operands(pair.old, pair.new, *keeping))


# -- batches --------------------------------------------------------------------------------------


def _refuse_updates(roots: Sequence[Symbolic], pairs: Sequence[_Pair]) -> None:
    """Refuse what a module computed that updates its statistics: of which element?"""
    changed = {pair.old.node for pair in pairs}
    for node in sorted(ancestors(roots), key=lambda node: node.serial):
        if any(arg.node in changed for arg in node.args):
            changed.add(node)
            for call in node.calls:
                parameter, _ = call.updates[0]
                raise GraphError(
                    f"vectorize: the values update {parameter.name!r} for each element",
                    hint="the statistics of one batch: sg.replace(z, {x: batch}), or model.eval()",
                    related=[describe(parameter, 0)],
                )


def _fit_elements(
    values: Sequence[Symbolic], pairs: Sequence[_Pair]
) -> tuple[Sequence[Symbolic], list[_Pair]]:
    """Return values over elements that have the sizes of those in the batches, and the pairs.

    Raises:
        RankError, ShapeError: a batch whose last axes are not those of an element.
        SizeGuardError: a condition on sizes does not hold for those of the elements.
    """
    texts = [
        f"vectorize: {pair.name} is {pair.old.type}, and its elements are in {pair.new.type}"
        for pair in pairs
    ]
    for text, pair in zip(texts, pairs, strict=True):
        if pair.new.ndim < pair.old.ndim:
            raise RankError(
                text,
                hint="a batch has axes in front of those of its elements",
                related=describe_operands(pair.old, pair.new),
            )
    elements = [
        pair.new.type.with_shape(pair.new.shape[pair.new.ndim - pair.old.ndim :]) for pair in pairs
    ]
    solver = SizeSolver(_fixed_sizes(values, pairs))
    solver.solve([(pair.old.type, kind) for pair, kind in zip(pairs, elements, strict=True)])
    sizes = solver.changes()
    new: dict[Key, Symbolic] = {}
    fitting: list[_Pair] = []
    for text, pair, element in zip(texts, pairs, elements, strict=True):
        old, batch = pair.old, pair.new
        kind = substitute_type(old.type, sizes)
        for axis, size in enumerate(kind.shape):
            place = batch.ndim - old.ndim + axis
            hint = f"axis {place} of the batch has {element.shape[axis]} elements, not {size}"
            check_equal(text, element.shape[axis], size, old, batch, hint=hint)
            batch = with_size(batch, place, size)
        if sizes:
            new[old.key] = old = body_input("x", kind, capture())
        fitting.append(pair._replace(old=old, new=batch))
    return Substitution(new, sizes).apply(values) if sizes else values, fitting


def _vectorize_values(values: Sequence[Symbolic], pairs: Sequence[_Pair]) -> list[Symbolic]:
    """Return values over batches; where these have several axes of elements, inner ones first."""
    inner: list[_Pair] = []
    outer: list[_Pair] = []
    for pair in pairs:
        more = pair.new.ndim - pair.old.ndim
        if more > 1:
            kind = pair.new.type.with_shape(pair.new.shape[more - 1 :])
            element = body_input("x", kind, capture())
            inner.append(pair._replace(new=element))
            outer.append(pair._replace(old=element))
        else:
            inner.append(pair)
    results = _add_axis(values, inner)
    return _vectorize_values(results, outer) if outer else results


def _add_axis(values: Sequence[Symbolic], pairs: Sequence[_Pair]) -> list[Symbolic]:
    """Return values over batches with at most one axis of elements; all results have it."""
    batched = [pair for pair in pairs if pair.new.ndim > pair.old.ndim]
    numbers = (pair for pair in batched if isinstance(pair.new.shape[0], int))
    first = next(numbers, batched[0])
    size = first.new.shape[0]
    new: dict[Key, tuple[Any, bool]] = {}
    for pair in pairs:
        batch, has = pair.new, pair.new.ndim > pair.old.ndim
        if has:
            text = f"vectorize: {pair.name} has {batch.shape[0]} elements, {first.name} has {size}"
            check_equal(text, batch.shape[0], size, batch, first.new)
            batch = with_size(batch, 0, size)
        new[pair.old.key] = batch, has
    pairs_of_results = substitute_batches(values, new, size)
    results = [value for value, _ in pairs_of_results]
    return in_front(size, results, [has for _, has in pairs_of_results])


# -- calls of graphs ------------------------------------------------------------------------------


def call_graph(graph: Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what ``graph(*args, **kwargs)`` gives: see ``Graph.__call__``."""
    named = _bind_arguments(graph, args, kwargs)
    if are_plain((), named):
        return computed_at_once(lambda args, kwargs: _call(graph, kwargs), (), named)
    return _call(graph, named)


register_call(call_graph)


def _bind_arguments(graph: Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by the name of the input, in the order of the inputs."""
    names = [*graph.input_types]
    takes = f"{graph.name}({', '.join(names)})"
    if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
        raise UnknownArgumentError(
            f"{takes}: a graph is called with values, not with a dict of them",
            hint="by name: graph(x=value), graph(**feeds); arrays are run by sg.compile(graph)",
        )
    if len(args) > len(names):
        raise UnknownArgumentError(f"{takes}: {len(args)} arguments for {len(names)} inputs")
    named = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise UnknownArgumentError(
                f"{takes}: the graph has no input {name!r}",
                hint=f"{did_you_mean(name, names)}its inputs are {list_names(names)}",
            )
        if name in named:
            raise UnknownArgumentError(f"{takes}: {name} is given twice, by position and by name")
        named[name] = value
    missing = [name for name in names if name not in named]
    if missing:
        inputs = {value.node.label: value for value in graph.inputs}
        raise UnknownArgumentError(
            f"{takes}: no value for {list_names(missing)}",
            hint="a graph is called with a value for each of its inputs",
            related=describe_operands(*(inputs[name] for name in missing)),
        )
    return {name: named[name] for name in names}


def _call(graph: Graph, named: Mapping[str, Any]) -> Any:
    """Build the nodes of a graph over values by the names of its inputs."""
    pairs, tensors = _operands_of_call(graph, named)
    new, sizes = _match(graph.name, pairs, {})
    updates = graph.updates
    if updates and not tensors and not takes_updates():
        raise _no_updates(graph)
    roots = [*graph.outputs.values(), *(value for _, value in updates)]
    results = _splice(graph, roots, new, sizes, tensors)
    outputs = dict(zip(graph.outputs, results, strict=False))
    for name in graph.complex_outputs:
        outputs[name] = outputs[name].kind.complex_kind.of(outputs[name])
    for (parameter, _), value in zip(updates, results[len(outputs) :], strict=True):
        parameter.update(value)
    return outputs["output"] if [*outputs] == ["output"] else outputs


def _operands_of_call(graph: Graph, named: Mapping[str, Any]) -> tuple[list[_Pair], Any]:
    """Return the inputs with their arguments as real values, and the kind of tensors or None."""
    kind = binding_kind(present(tuple(named.values())))
    kind = getattr(kind, "part_kind", kind)  # a graph computes with the parts of complex numbers
    pairs = []
    for value in graph.inputs:
        label = value.node.label
        operand = _as_operand(graph.name, label, graph.input_types[label], named[label], kind)
        if graph.input_types[label].dtype.is_complex:
            operand = operand.join_parts()
        pairs.append(_Pair(label, value, operand))
    return pairs, kind if kind.computes else None


def _splice(
    graph: Graph,
    roots: Sequence[Symbolic],
    new: Mapping[Key, Any],
    sizes: Mapping[Named, Size],
    tensors: Any,
) -> list[Any]:
    """Return values of a graph over what replaces its inputs; parameters have present values."""
    leaves = {parameter.node: parameter for parameter in graph.parameters}
    if tensors is not None:
        return _run_on_tape(graph, roots, new, sizes, tensors)
    read = {(node, 0): present((parameter,))[0] for node, parameter in leaves.items()}
    around = current().scope
    part = call_part(graph.name, capture().short)
    path = f"{around}/{part}" if around else part
    calls = _calls_of_program().setdefault(path, [])
    number = next((k for k, nodes in enumerate(calls) if not nodes), len(calls))
    if number == len(calls):
        calls.append(WeakSet())
    if number:
        path += f" #{number + 1}"
    try:
        copies = Substitution({**new, **read}, sizes, partial(relocate, path=path))
        results = copies.apply(roots)
    except StaticgradError as error:
        error.add_note(f"in the call of graph {graph.name!r} at {capture().short}")
        raise
    calls[number].update(result.node for result in results)
    return results


def _calls_of_program() -> dict[str, list[WeakSet[Node]]]:
    """Return the calls of graphs in the running trace, or else in the running program, by scope.

    Each is the set of the nodes of its results: of a call whose nodes are gone it is empty.
    """
    session = running_session()
    if session is not None:
        return session.graph_calls
    code = running_program()
    if id(code) not in _programs:
        if len(_programs) >= _MOST_PROGRAMS:
            _programs.pop(next(iter(_programs)), None)
        _programs[id(code)] = code, {}
    return _programs[id(code)][1]


#: id(code) -> (the code, so that the id stays its own; the calls in it). The oldest out first.
_programs: Final[dict[int, tuple[CodeType, dict[str, list[WeakSet[Node]]]]]] = {}
_MOST_PROGRAMS: Final = 64


def _run_on_tape(
    graph: Graph,
    roots: Sequence[Symbolic],
    new: Mapping[Key, Any],
    sizes: Mapping[Named, Size],
    kind: Any,
) -> list[Any]:
    """Compute values of a graph of tensors, op by op."""
    check_guards(graph.nodes, sizes)
    results: dict[Key, Any] = dict(new)
    for node in graph.nodes:
        if isinstance(node.op, Input):
            continue
        if isinstance(node.op, ParameterLeaf):
            outs: tuple[Any, ...] = (kind.lift(Parameter(node)),)
        elif isinstance(node.op, Constant):
            outs = (kind.lift(node.op.data.array, node.op.data.dtype),)
        else:
            out = kind.bind(
                substitute_op(node.op, sizes), tuple([results[arg.key] for arg in node.args])
            )
            outs = out if isinstance(out, tuple) else (out,)
        results.update(((node, index), value) for index, value in enumerate(outs))
    return [results[root.key] for root in roots]


def _no_updates(graph: Graph) -> GraphError:
    """Return the error for a graph with updates that is called where none is made."""
    parameter, value = graph.updates[0]
    label = graph.name if graph.name.isidentifier() else "graph"
    return GraphError(
        f"graph {graph.name!r} updates {parameter.name!r}, and a call outside of a function makes"
        " no update",
        hint=f"under @sg.function a call makes its updates; its outputs alone:"
        f" sg.Graph({label}.outputs)(x)\nwith its next values: sg.replace([{label}.outputs,"
        f" dict({label}.updates)], {{x: new}})",
        related=[describe(parameter, 0), describe(value, 1, "its next value")],
    )
