"""A report on ``torch.compile``: graphs of a function, programs, and what PyTorch runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from staticgrad.extend.optional import torch
from staticgrad.torch.arrays import autograd_nodes
from staticgrad.torch.aten.backend import Note, compile_dynamo_graph


class TorchGraph(NamedTuple):
    """One graph of ATen operators.

    Attributes:
        kind: ``forward``, ``backward``, or ``inference`` where nothing needs a gradient.
        operators: how many calls of operators it has.
        programs: the compiled programs, one if PyTorch runs nothing between them.
        outside: what PyTorch runs: names of operators and reasons.
        fixed: why each batch size has a program of its own; empty if one has all, or sizes are
            known.
    """

    kind: str
    operators: int
    programs: tuple[Any, ...]
    outside: tuple[tuple[str, str], ...]
    fixed: str

    @property
    def kernels(self) -> int:
        """The number of compiled kernels."""
        return sum(len(program.kernels) for program in self.programs)

    @property
    def peak_bytes(self) -> int:
        """The greatest number of bytes that a program of it needs besides arguments and results."""
        return max([program.peak_bytes for program in self.programs], default=0)

    def __str__(self) -> str:
        lines = [
            f"{self.kind}: {self.operators} operators, {len(self.programs)} programs,"
            f" {self.kernels} kernels, peak {self.peak_bytes:,} bytes"
        ]
        if self.fixed:
            lines.append(f"  a program for each set of sizes: {self.fixed}")
        lines += [f"  PyTorch runs {name}: {reason}" for name, reason in self.outside]
        return "\n".join(lines)


class TorchReport(NamedTuple):
    """The graphs that ``torch.compile`` made of a function in one call; ``str`` shows them.

    Attributes:
        graphs: in the order in which they were compiled.
        breaks: the reasons for which Dynamo ended a graph and let Python run.
    """

    graphs: tuple[TorchGraph, ...]
    breaks: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.graphs)} graphs, {len(self.breaks)} graph breaks"]
        lines += [str(graph) for graph in self.graphs]
        lines += [f"graph break: {reason}" for reason in self.breaks]
        return "\n".join(lines)


def explain_compilation(
    f: Callable[..., Any], args: Any, named: Any, options: dict[str, Any], dynamic: bool | None
) -> TorchReport:
    """Compile a function, call it and its gradient once, and return what was made."""
    notes: list[Note] = []

    def backend(graph: Any, example: Any) -> Any:
        return compile_dynamo_graph(graph, example, options, notes.append)

    breaks_before = count_breaks()
    results = torch.compile(f, backend=backend, dynamic=dynamic)(*args, **named)
    smooth = [
        result
        for result in torch.utils._pytree.tree_leaves(results)
        if isinstance(result, torch.Tensor) and result.requires_grad and result.grad_fn is not None
    ]
    if smooth:
        cotangents = [torch.ones_like(result) for result in smooth]
        torch.autograd.grad(smooth, _find_gradient_leaves(smooth), cotangents, allow_unused=True)
    new = [why for why, count in count_breaks().items() if count > breaks_before[why]]
    return TorchReport(tuple(map(_report_graph, notes)), tuple(new))


def count_breaks() -> Counter[str]:
    """Count the graphs that Dynamo ended, by reason; those at a branch are ``unimplemented``."""
    counts: Counter[str] = Counter()
    for kind in ("graph_break", "unimplemented"):
        for why, count in torch._dynamo.utils.counters[kind].items():
            counts[str(why).partition("\n")[0]] += count
    return counts


def _report_graph(note: Note) -> TorchGraph:
    """Describe one captured graph of ``torch.compile``: operators, programs, what PyTorch runs."""
    return TorchGraph(
        note.kind,
        note.operators,
        tuple([program for runs in note.runs for program in runs.programs]),
        tuple(dict.fromkeys(note.outside)),
        next((runs.fixed for runs in note.runs if runs.fixed), ""),
    )


def _find_gradient_leaves(results: Any) -> list[Any]:
    """Collect the leaf tensors in which autograd accumulates gradients of torch results."""
    return [node.variable for node in autograd_nodes(results) if hasattr(node, "variable")]
