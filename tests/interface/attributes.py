"""Attributes of public classes, and of those that extensions derive from or read.

``python -m tests.interface.attributes`` writes ``attributes.txt`` at a release: a line per class,
with the attributes that no public base of it has. ``test_attributes.py`` says which are gone.
"""

import importlib
import inspect
from pathlib import Path

import staticgrad as sg

FILE = Path(__file__).with_name("attributes.txt")
#: Classes outside of ``sg`` that extensions derive from, or get.
EXTENSIONS = (
    "passes.base:Pass", "passes.base:Pipeline", "passes.remat.base:Policy",
    "passes.remat.base:Problem", "passes.rewrite.base:Rewrite", "passes.rewrite.driver:Rewriting",
    "passes.rewrite.rule:Rule", "staticgrad.analysis.pass_report:Report",
    "staticgrad.analysis.planning.problem:MemoryProblem", "staticgrad.backends:Backend",
    "staticgrad.backends:Code", "staticgrad.compiler.compiling.compiler:Compiled",
    "staticgrad.compiler.compiling.artifacts:CompiledKernel",
    "staticgrad.compiler.reports.explain:Explanation",
    "staticgrad.compiler.reports.explain:NodeCounts",
    "staticgrad.compiler.reports.explain:StepSection", "staticgrad.eager.tensor:Tensor",
    "staticgrad.language.ir.forms:Combiner", "staticgrad.language.ir.kernels.kernel:Kernel",
    "staticgrad.language.ir.nodes:Node", "staticgrad.language.ir.op:Op",
    "staticgrad.language.ir.plan:Plan", "staticgrad.language.ir.schedule:Buffer",
    "staticgrad.language.ir.schedule:Schedule", "staticgrad.language.ir.schedule:Step",
    "staticgrad.language.ops.elementwise:Elementwise", "staticgrad.language.ops.operands:LinearOp",
    "staticgrad.language.ops.reduce:Reduction", "staticgrad.nn.module:FunctionLayer",
    "staticgrad.optim.optimizer:Optimizer", "staticgrad.programs.function:Function",
    "staticgrad.stats.base:Continuous", "staticgrad.stats.base:Discrete",
)  # fmt: skip


def public_classes():
    """Yield (path, class) of each class that ``sg`` and its namespaces have."""
    for name in sorted(set(dir(sg)) - {"standard"}):
        value = getattr(sg, name)
        if inspect.isclass(value):
            yield f"sg.{name}", value
        elif inspect.ismodule(value):
            for inner in getattr(value, "__all__", ()):
                if inspect.isclass(getattr(value, inner)):
                    yield f"sg.{name}.{inner}", getattr(value, inner)
    for place in EXTENSIONS:
        module, _, name = place.partition(":")
        yield place, getattr(importlib.import_module(module), name)


def attributes(kind):
    """Return the public attributes of a class, those of bases of ours included."""
    names = set()
    for base in inspect.getmro(kind):
        if base.__module__.partition(".")[0] in ("staticgrad", "passes"):
            names |= vars(base).keys() | set(inspect.get_annotations(base))
    return {name for name in names if not name.startswith("_")}


def lines():
    """Yield a line per class: its path and its attributes, without those of public bases."""
    paths = {}
    for path, kind in public_classes():
        paths.setdefault(kind, path)
    for kind, path in paths.items():
        bases = {base for base in inspect.getmro(kind)[1:] if base in paths}
        inherited = set().union(*map(attributes, bases))
        yield " ".join([path, *sorted(attributes(kind) - inherited)])


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", "utf-8")
