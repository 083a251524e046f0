"""Results of the graph where tensors compute: values and gradients by ``sg.evaluate``."""

from staticgrad.analysis.evaluate import evaluate
from staticgrad.autodiff.reverse import grad
from staticgrad.language.ir.graph import Graph
from staticgrad.language.types.dtype import as_dtype
from tests.ops.graphs import variable


def as_tuple(result):
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def values(function, arrays):
    """The results of ``function`` of inputs that hold ``arrays``."""
    inputs = variables(arrays)
    return evaluate_targets(list(as_tuple(function(*inputs))), arrays)


def gradients(function, arrays, weights, order=1, moves=None):
    """The gradients of the weighted results by every floating operand, or those that ``moves`` has.

    Of order 2: those of the sum of the squares of the first ones.
    """
    inputs = variables(arrays)
    outs = [out for out in as_tuple(function(*inputs)) if out.dtype.is_float]
    total = sum((out * weight).sum() for out, weight in zip(outs, weights, strict=True))
    chosen = moves or [value.dtype.is_float for value in inputs]
    targets = [value for value, is_chosen in zip(inputs, chosen, strict=True) if is_chosen]
    slopes = grad(total, targets, allow_disconnected=True)
    if order == 2:
        slopes = grad(sum((g * g).sum() for g in slopes), targets, allow_disconnected=True)
    return evaluate_targets(list(slopes), arrays)


def variables(arrays):
    return [variable(f"x{i}", as_dtype(a.dtype), a.shape) for i, a in enumerate(arrays)]


def evaluate_targets(targets, arrays):
    graph = Graph({str(i): target for i, target in enumerate(targets)})
    used = {value.node.op.label for value in graph.inputs}
    feeds = {f"x{i}": array for i, array in enumerate(arrays) if f"x{i}" in used}
    return list(evaluate(targets, feeds))
