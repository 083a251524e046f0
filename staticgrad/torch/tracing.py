"""Calls of ``sg.torch.function`` in graphs of PyTorch: ``torch.compile`` and ``torch.export``.

A call is the operator ``torch.ops.staticgrad.run(key, tensors)``, whose results have types before
they are computed. ``key`` names the programs of this process.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import Any, Final
from weakref import WeakSet

from staticgrad.bridges.foreign_programs import Programs, find_programs
from staticgrad.errors import StaticgradError
from staticgrad.extend import Dim
from staticgrad.extend.optional import torch
from staticgrad.extend.sizes import evaluate
from staticgrad.extend.trees import Tree, flatten
from staticgrad.torch.arrays import array_of, tensor_of
from staticgrad.torch.sizes import UnnamedSizeError, name_size, open_sizes


def run_programs(
    programs: Programs, tensors: Sequence[Any], call_on_tape: Callable[[Programs, list[Any]], Any]
) -> tuple[list[Any], Tree]:
    """Run programs on torch tensors as an operator that PyTorch can trace; return results, tree.

    Where PyTorch traces, it is a call of the operator, which in a graph that needs its gradient is
    ``call_on_tape``.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        _, tree = _types(programs, tensors)
        return list(_operator(call_on_tape)(programs.key, list(tensors))), tree
    leaves, tree = flatten(programs.run(*map(array_of, tensors)))
    return [tensor_of(leaf) for leaf in leaves], tree


def _types(programs: Programs, tensors: Sequence[Any]) -> tuple[list[tuple[Any, str]], Tree]:
    """Infer shapes and dtypes of the results of programs on torch tensors, and their containers.

    Open sizes stay open where the function has no need of their values.
    """
    names: dict[str, Dim] = {}
    with suppress(StaticgradError, UnnamedSizeError):
        kinds = _kinds(tensors, lambda size: name_size(size, names))
        values, tree, guards = programs.types(kinds)
        sizes = open_sizes([size for tensor in tensors for size in tensor.shape], names)
        if all(guard.holds(sizes) for guard in guards):
            shapes = [tuple([evaluate(size, sizes) for size in value.shape]) for value in values]
            kinds_out = [
                (shape, value.dtype.name) for shape, value in zip(shapes, values, strict=True)
            ]
            return kinds_out, tree
    values, tree, _ = programs.types(_kinds(tensors, int))
    return [(value.shape, value.dtype.name) for value in values], tree


def _kinds(
    tensors: Sequence[Any], size: Callable[[Any], Any]
) -> tuple[tuple[tuple[Any, ...], str], ...]:
    return tuple([
        (tuple(map(size, tensor.shape)), str(tensor.dtype).removeprefix("torch."))
        for tensor in tensors
    ])  # fmt: skip


@functools.cache
def _operator(call_on_tape: Callable[[Programs, list[Any]], Any]) -> Any:
    """Register the torch operator that calls compiled programs, and return it."""
    library = torch.library.Library("staticgrad", "FRAGMENT")
    tags = (torch.Tag.pt2_compliant_tag,)
    library.define("run(str key, Tensor[] tensors) -> Tensor[]", tags=tags)

    def run(key: str, tensors: Any) -> Any:
        leaves, _ = flatten(find_programs(key).run(*map(array_of, tensors)))
        return [tensor_of(leaf) for leaf in leaves]

    def fake(key: str, tensors: Any) -> Any:
        kinds, _ = _types(find_programs(key), tensors)
        return [torch.empty(shape, dtype=getattr(torch, dtype)) for shape, dtype in kinds]

    def run_differentiable(key: str, tensors: Any) -> Any:
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return flatten(call_on_tape(find_programs(key), list(tensors)))[0]
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.staticgrad.run.default(key, tensors)

    library.impl("run", run, "CompositeExplicitAutograd")
    library.impl("run", run_differentiable, "Autograd")
    torch.library.register_fake("staticgrad::run", fake, lib=library)
    _libraries.append(library)  # what it registered ends with it
    return torch.ops.staticgrad.run.default


_libraries: Final[list[Any]] = []
#: Functions that Dynamo does not look into.
_opaque: Final[WeakSet[Callable[..., Any]]] = WeakSet()


def opaque(f: Callable[..., Any]) -> Callable[..., Any]:
    """Let Dynamo record calls of a function as one operator, also if it is imported later."""
    if sys.modules.get("torch._dynamo.decorators"):
        _tell_dynamo(f)
    else:
        _opaque.add(f)
        if _WHEN_IMPORTED not in sys.meta_path:
            sys.meta_path.insert(0, _WHEN_IMPORTED)
    return f


def _tell_dynamo(f: Callable[..., Any]) -> None:
    from weakref import finalize

    rules: Any = sys.modules["torch._dynamo.trace_rules"]
    for ids in (rules._allowed_callable_ids, rules._nonstrict_trace_callable_ids):
        ids.add(id(f))
        finalize(f, ids.remove, id(f))


class _WhenImported(MetaPathFinder):
    """Finds Dynamo, which takes seconds to import, and says then which functions are opaque."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find Dynamo's module for the import hook, which then registers our operator."""
        if name != "torch._dynamo":
            return None
        sys.meta_path.remove(self)
        spec: Any = find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_mark(module: Any) -> None:
            execute(module)
            for f in [*_opaque]:
                _tell_dynamo(f)

        spec.loader.exec_module = execute_and_mark
        return spec


_WHEN_IMPORTED: Final = _WhenImported()
