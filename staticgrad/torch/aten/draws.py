"""Random numbers of a graph of PyTorch, drawn by PyTorch's generator before its program runs.

What most operators draw depends on the sizes of their operands, not on their numbers. A graph takes
what they draw as further arguments, which PyTorch draws in the order of the graph: the numbers are
those of eager PyTorch, and the graph is one program. Where chances are computed, as those of
``torch.bernoulli(p)``, what is drawn are the uniform numbers that PyTorch compares with them.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from staticgrad.extend.optional import torch

#: Operators whose random numbers do not depend on those of their operands.
_BY_SIZES: Final = frozenset((
    "bernoulli.p", "exponential.default", "geometric.default", "log_normal.default",
    "native_dropout.default", "normal_functional.default", "rand.default", "rand_like.default",
    "randint.default", "randint.low", "randint_like.default", "randint_like.low_dtype",
    "randn.default", "randn_like.default", "randperm.default", "uniform.default",
))  # fmt: skip

#: Operators that compare uniform numbers with chances -> which operand has the chances.
_BY_CHANCES: Final = {"bernoulli.default": 0, "bernoulli.Tensor": 1}


class DrawnGraph(NamedTuple):
    """A graph whose random numbers are arguments.

    Attributes:
        example: the last arguments, as PyTorch traced them.
        draws: functions that draw them, in order.
    """

    example: list[Any]
    draws: list[Callable[[], Any]]


def take_draws(graph: Any) -> DrawnGraph:
    """Replace the random operators of an ATen graph by arguments, in place.

    Where one of them has to stay, because its numbers depend on values or on open sizes, all stay:
    the order in which PyTorch draws is that of the graph.
    """
    nodes = [node for node in graph.graph.nodes if _is_random(node)]
    draws = [draw for node in nodes if (draw := _read_draw(node)) is not None]
    if not nodes or len(draws) < len(nodes):
        return DrawnGraph([], [])
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    first = inputs[-1].next if inputs else next(iter(graph.graph.nodes))
    example = []
    for place, node in enumerate(nodes):
        drops, chances = _is_dropout(node), _find_chances(node)
        with graph.graph.inserting_before(first):
            drawn = graph.graph.placeholder(f"drawn_{place}")
        drawn.meta["val"] = node.meta["val"][1] if drops else node.meta["val"]
        if chances is not None:
            drawn.meta["val"] = drawn.meta["val"].to(_type_of_uniform(chances))
        example.append(drawn.meta["val"])
        if drops:
            _drop_by_mask(graph.graph, node, drawn)
        elif chances is not None:
            _compare_with_chances(graph.graph, node, drawn, chances)
        else:
            node.replace_all_uses_with(drawn)
            graph.graph.erase_node(node)
    graph.recompile()
    return DrawnGraph(example, draws)


def _is_random(node: Any) -> bool:
    """Return whether a node draws random numbers."""
    return (
        node.op == "call_function"
        and isinstance(node.target, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded in node.target.tags
        and not (_is_dropout(node) and node.args[2] is False)
    )


def _is_dropout(node: Any) -> bool:
    return bool(node.target is torch.ops.aten.native_dropout.default)


def _name_of(node: Any) -> str:
    return str(node.target).removeprefix("aten.")


def _find_chances(node: Any) -> Any:
    """Return the operand of a node that has chances; None if the node compares none."""
    place = _BY_CHANCES.get(_name_of(node))
    return None if place is None else node.args[place]


def _type_of_uniform(chances: Any) -> Any:
    """Return the element type of the numbers that PyTorch compares with chances."""
    is_double = chances.meta["val"].dtype is torch.float64
    return torch.float64 if is_double else torch.float32


def _read_draw(node: Any) -> Callable[[], Any] | None:
    """Return a function that draws the numbers of a node; None if they depend on more than sizes.

    An operand is empty memory of its sizes and strides: numbers are drawn in the order of memory.
    """
    if (chances := _find_chances(node)) is not None:
        memory = _describe(node)
        is_drawn = isinstance(memory, _Memory) and node.kwargs.get("generator") is None
        return partial(_draw_uniform, memory, _type_of_uniform(chances)) if is_drawn else None
    if _name_of(node) not in _BY_SIZES:
        return None
    arguments = torch.utils._pytree.tree_map(_describe, (node.args, dict(node.kwargs)))
    leaves = torch.utils._pytree.tree_leaves(arguments)
    if any(leaf is _UNKNOWN for leaf in leaves) or node.kwargs.get("generator") is not None:
        return None
    if _is_dropout(node):
        return partial(_draw_mask, arguments[0][0], 1.0 - node.args[1])
    return partial(_draw, node.target, *arguments)


#: An argument that is known only when the graph runs.
_UNKNOWN: Final = object()


class _Memory:
    """The memory of an operand: sizes, strides and element type, and no numbers."""

    def __init__(self, tensor: Any) -> None:
        self.sizes, self.strides, self.dtype = [*tensor.shape], [*tensor.stride()], tensor.dtype

    def allocate(self, dtype: Any = None) -> Any:
        """Return empty memory of this kind, by default in its own element type."""
        return torch.empty_strided(self.sizes, self.strides, dtype=dtype or self.dtype)


def _describe(argument: Any) -> Any:
    """Describe an argument of a random operator: the memory of a node, or what is known."""
    if isinstance(argument, torch.SymInt | torch.SymFloat | torch.SymBool):
        return _UNKNOWN
    if not isinstance(argument, torch.fx.Node):
        return argument
    value = argument.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.device.type != "cpu":
        return _UNKNOWN
    if any(isinstance(size, torch.SymInt) for size in (*value.shape, *value.stride())):
        return _UNKNOWN
    return _Memory(value)


def _draw(target: Any, args: Any, options: Mapping[str, Any]) -> Any:
    allocate = partial(torch.utils._pytree.tree_map_only, _Memory, _Memory.allocate)
    return target(*allocate(args), **allocate(options))


def _draw_mask(memory: _Memory, chance: float) -> Any:
    return memory.allocate(torch.bool).bernoulli_(chance)


def _draw_uniform(memory: _Memory, dtype: Any) -> Any:
    return memory.allocate(dtype).uniform_()


def _compare_with_chances(graph: Any, node: Any, drawn: Any, chances: Any) -> None:
    """Replace a draw by whether uniform numbers are below the chances.

    PyTorch's check that chances are from 0 to 1 is left out.
    """
    value = node.meta["val"]
    with graph.inserting_before(node):
        is_below = graph.call_function(torch.ops.aten.lt.Tensor, (drawn, chances))
        result = graph.call_function(
            torch.ops.aten._to_copy.default, (is_below,), {"dtype": value.dtype}
        )
    is_below.meta = {**node.meta, "val": value.to(torch.bool)}
    result.meta = dict(node.meta)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _drop_by_mask(graph: Any, node: Any, mask: Any) -> None:
    """Replace a dropout by products with its mask and a factor, as PyTorch computes it."""
    x, share = node.args[:2]
    factor = 0.0 if share == 1.0 else 1.0 / (1.0 - share)
    multiply = torch.ops.aten.mul.Tensor
    with graph.inserting_before(node):
        stays = graph.call_function(multiply, (x, mask))
        result = graph.call_function(multiply, (stays, factor))
    for product in (stays, result):
        product.meta = {**node.meta, "val": node.meta["val"][0]}
    for reader in [*node.users]:
        assert reader.target is python.getitem
        reader.replace_all_uses_with((result, mask)[reader.args[1]])
        graph.erase_node(reader)
    graph.erase_node(node)
