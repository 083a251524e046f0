"""Graphs of core ATen operators, traced from functions of tensors."""

import torch

from staticgrad.torch.aten.reading import drop_lossy_decompositions


def trace_graph(f, *tensors):
    """Return the functional graph of core ATen operators that a function of tensors runs."""
    make_fx = torch.fx.experimental.proxy_tensor.make_fx
    table = drop_lossy_decompositions(torch._decomp.core_aten_decompositions())
    graph = make_fx(torch.func.functionalize(f), table)(*tensors)
    return make_fx(torch.func.functionalize(graph))(*tensors) if _writes(graph) else graph


def _writes(graph):
    """Return whether a node of the graph writes into a tensor."""
    return any(
        isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
        for node in graph.graph.nodes
    )
