"""Results of ATen graphs that are views of tensors: found, and made again by PyTorch."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from staticgrad.extend import Dim
from staticgrad.extend.optional import torch
from staticgrad.extend.sizes import evaluate


def find_views(outputs: Sequence[Any]) -> list[Any]:
    """Find outputs of an ATen graph that are views of an input or output: (base, views, sizes)."""
    chains = [_follow_views(output) for output in outputs]
    bases = [base for base, _ in chains]
    entries: list[Any] = []
    for base, views in chains:
        if base is None or (bases.count(base) == 1 and base.op != "placeholder") or not views:
            entries.append(None)
            continue
        sizes = [size for view in views for size in view.all_input_nodes[1:]]
        entries.append((base, views, sizes))
    return entries


def _follow_views(node: Any) -> tuple[Any, list[Any]]:
    """Follow a result of an ATen graph to the tensor it is a view of; return both and the views."""
    views: list[Any] = []
    while isinstance(node, torch.fx.Node) and node.op == "call_function":
        schema = getattr(node.target, "_schema", None)
        is_view = schema is not None and any(
            result.alias_info is not None and not result.alias_info.is_write
            for result in schema.returns
        )
        if not (is_view or (node.target is python.getitem and _is_split(node.args[0]))):
            break
        views.insert(0, node)
        node = node.args[0]
    return (node if isinstance(node, torch.fx.Node) else None), views


def _is_split(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info is not None for result in schema.returns)


def replay_view(
    node: Any, size_values: Mapping[Any, Any]
) -> Callable[[Any, Mapping[str, int]], Any]:
    """Return a function that repeats a view of PyTorch on a tensor, with sizes as numbers."""
    if not any(isinstance(size_values[argument], Dim) for argument in node.all_input_nodes[1:]):
        arguments = torch.fx.map_arg(node.args[1:], lambda argument: size_values[argument])
        named = torch.fx.map_arg(node.kwargs, lambda argument: size_values[argument])
        return lambda x, sizes: node.target(x, *arguments, **named)

    def view(x: Any, sizes: Mapping[str, int]) -> Any:
        put = lambda argument: evaluate(size_values[argument], sizes)  # noqa: E731 - of one node
        arguments, named = (torch.fx.map_arg(nodes, put) for nodes in (node.args[1:], node.kwargs))
        return node.target(x, *arguments, **named)

    return view
