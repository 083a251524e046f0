"""Exceptions to the rules of imports, each with its reason; what has none is found."""

from functools import cache

from tests.structure_report import ROOT, Tree

LAZY = {
    "passes.base": "only check=True compares graphs",
    "staticgrad.memory.divided": "few programs have loops that a budget divides",
    "staticgrad.lowering.fuse": "few programs have loops",
    "passes.loops.whole": "few programs have loops",
    "staticgrad.lowering.copies": "few programs have short rows",
    "staticgrad.lowering.short_rows": "few programs have windows",
    "staticgrad.lowering.signatures": "few programs have windows",
    "staticgrad.lowering.stages": "few programs have windows, scans, short or very long rows",
    "staticgrad.memory.planner": "few programs exceed a budget",
    "passes.remat.front": "a program without a budget starts without the search",
    "passes.residuals": "fusion is loaded where no schedule is on disk",
    "passes.rewrite": "the base class needs the package's own names",
    "staticgrad.analysis.plan_report": "placements that first fit finds need no search",
    "staticgrad": "the facade loads nothing before it is asked",
    "staticgrad.compiling.artifacts": "few programs are explained",
    "staticgrad.backends": "code is written where no schedule is on disk",
    "staticgrad.compiling.scheduling": "fusion is loaded where no schedule is on disk",
    "staticgrad.codegen.kernel_source": "few programs sort, or have a row in each lane",
    "staticgrad.codegen.products.choice": "few programs have products of windows",
    "staticgrad.codegen.lookups": "few programs look up places",
    "staticgrad.lints.program": "derivatives first look whether a folder hides the package",
    "staticgrad.compiling.arguments": "few programs have a policy of their own",
    "staticgrad.commands.cli": "each command loads what it needs",
    "staticgrad.compiling.compiler": "no profiler or explanation is loaded that nobody asks for",
    "staticgrad.eager.tape": "detect_mutation alone reads settings",
    "staticgrad.eager.tensor": "functions by rows and checkpoints stand above tensors",
    "staticgrad.reports.explain": "pictures are loaded by who looks at them",
    "staticgrad.reports.profiling": "pictures are loaded by who looks at them",
    "staticgrad.train.fitting": "pictures are loaded by who looks at them",
    "staticgrad.functions.draws": "linear algebra is loaded for who draws vectors",
    "staticgrad.ir.calls": "NumPy's functions are looked up when one is called",
    "staticgrad.ir.graph": "text and pickles stand above graphs, and are methods of theirs",
    "staticgrad.ir.nodes": "pickles stand above nodes, and are a method of theirs",
    "staticgrad.ir.kernels.kernel": "text stands above kernels, and is a method of theirs",
    "staticgrad.ir.plan": "text stands above plans, and is a method of theirs",
    "staticgrad.ir.verify_schedule": "text is for schedules that are refused",
    "staticgrad.ir.schedule": "text stands above schedules, and is a method of theirs",
    "staticgrad.native": "LLVM and the interpreter of kernels are loaded by the first kernel",
    "staticgrad.native.entry.callables": "the package, and with it LLVM, makes code of the text",
    "staticgrad.native.jit": "Numba and masks without registers are for few kernels",
    "staticgrad.native.libraries.lapack": "the package, and with it LLVM, makes code of recipes",
    "staticgrad.native.libraries.routines": "kernels as plain Python are for where the jit is off",
    "staticgrad.native.libraries.scipy_library": "the package, and with it LLVM, makes the code",
    "staticgrad.native.libraries.user_calls": "the first function that Numba compiles loads it",
    "staticgrad.planning.problem": "placements that first fit finds need no compiler",
    "staticgrad.planning.planner": "effort='exact' and others' policies alone need SciPy",
    "staticgrad.programs.derivatives": "derivatives of values need no compiler; few are forward",
    "staticgrad.programs.implicit": "tensors are loaded by who has them",
    "staticgrad.programs.transformed": "tensors are loaded by who has them",
    "staticgrad.programs.function": "tensors are loaded by who runs a function at once",
    "staticgrad.nn.module": "weights of PyTorch stand above the layers, and are methods of theirs",
    "staticgrad.optim.averaging": "tensors are loaded by who has them",
    "staticgrad.optim.lbfgs": "tensors are loaded by who has them",
    "staticgrad.optim.optimizer": "tensors are loaded by who has them",
    "staticgrad.optim.schedules": "tensors are loaded by who has them",
    "staticgrad.ops.custom": "building loads nothing native",
    "staticgrad.ops.linalg": "building loads nothing native",
    "staticgrad.runtime.executor": "a program that runs once or twice needs no native entry",
    "staticgrad.comparison.measure": "programs are translated where PyTorch is installed",
    "staticgrad.native.machine": "caches are read when the first kernel is made",
    "staticgrad.native.target": "the self-test compiles, for a target that it chooses",
    "staticgrad.native.table.pool_policy": "the language is read where code is not on disk",
}


@cache
def tree():
    return Tree(ROOT)


def test_imports_inside_of_functions_have_a_reason():
    found = {each.by for each in tree().imports() if each.inside and not each.checked}
    assert found == {*LAZY}


def test_circles_are_those_of_imports_with_a_reason():
    """Without the imports in functions there is none: modules can be loaded in any order."""
    circles = tree().circles()
    assert all(group & {*LAZY} for group in circles), circles
    assert len(circles) <= 7
