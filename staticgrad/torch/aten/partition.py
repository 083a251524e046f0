"""The joint graph of AOTAutograd as a forward and a backward graph.

PyTorch's search for a minimal cut chooses what the forward pass saves. Where that is a view, the
tensor that it is a view of is saved, once for all of its views, and the backward pass makes the
view: in a program that costs nothing, while each view of PyTorch is a call.
"""

from __future__ import annotations

from typing import Any

from staticgrad.extend.optional import torch
from staticgrad.torch.aten.views import find_views


def partition(joint: Any, inputs: Any, **options: Any) -> tuple[Any, Any]:
    """Return the forward and the backward graph of a joint graph, as AOTAutograd asks for them."""
    cut = torch._functorch.partitioners.min_cut_rematerialization_partition
    forward, backward = cut(joint, inputs, **options)
    _save_bases(forward, backward, options["num_fwd_outputs"])
    return forward, backward


def _save_bases(forward: Any, backward: Any, count: int) -> None:
    """Save bases instead of views, in place.

    Args:
        forward: its results are ``count`` of the function, then what is saved.
        backward: it takes what is saved by name, then cotangents.
        count: of results that are not saved.
    """
    output = forward.graph.output_node()
    outputs = list(output.args[0])
    views = dict(enumerate(find_views(outputs)))
    saved = {x for x in outputs[count:] if isinstance(x, torch.fx.Node)}
    inputs = {x.target: x for x in backward.graph.nodes if x.op == "placeholder"}
    first = next(x for x in backward.graph.nodes if x.op != "placeholder")
    dropped = set()
    for k in range(count, len(outputs)):
        if views[k] is None or not _is_saved_by_base(*views[k][:2]):
            continue
        base, chain, _ = views[k]
        place = inputs.pop(outputs[k].name)
        if base in saved:
            dropped.add(k)
        else:
            saved.add(base)
            outputs[k] = base
            with backward.graph.inserting_before(place):
                inputs[base.name] = backward.graph.placeholder(base.name)
            inputs[base.name].meta = dict(base.meta)
        copies = {base: inputs[base.name]}
        for view in chain:
            with backward.graph.inserting_before(first):
                copies[view] = backward.graph.node_copy(view, copies.__getitem__)
        place.replace_all_uses_with(copies[chain[-1]])
        backward.graph.erase_node(place)
    output.args = (tuple([x for k, x in enumerate(outputs) if k not in dropped]),)
    if "desc" in output.meta:
        output.meta["desc"] = [x for k, x in enumerate(output.meta["desc"]) if k not in dropped]
    for graph in (forward, backward):
        graph.recompile()


def _is_saved_by_base(base: Any, views: Any) -> bool:
    """Return whether a tensor may be saved instead of a view of it.

    Not where one is written into, nor where a view has a size that is an operand.
    """
    if any(view.meta.get("saved_tensor_with_no_vc_check") for view in views):
        return False
    users = [user for node in (base, *views) for user in node.users]
    schemas = [getattr(user.target, "_schema", None) for user in users]
    return (
        isinstance(base.meta.get("val"), torch.Tensor)
        and all(len(view.all_input_nodes) == 1 for view in views)
        and not any(schema is not None and schema.is_mutable for schema in schemas)
    )
