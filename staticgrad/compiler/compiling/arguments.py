"""The arguments of ``sg.compile`` and of compiled programs, read and checked in the user's words.

They come from the user and go to ``compiler.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import TYPE_CHECKING, Any, Final, Literal

from passes.base import Pass
from staticgrad.analysis.budgets import BudgetFit, BudgetShare
from staticgrad.errors import ArgumentError, UnknownFeedError, UnknownNameError
from staticgrad.errors.wording import did_you_mean, kind_of, list_names, quote
from staticgrad.language.ir.advances import check_without_updates
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.pairs import SymbolicComplex
from staticgrad.language.ir.value import Value
from staticgrad.language.types.dim import Dim
from staticgrad.native.system import processors
from staticgrad.support.config import SHARES, SPELLING, read_bytes, read_share
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from passes.base import Pipeline
    from passes.remat import Policy
    from staticgrad.functions.checkpoints.saveable import Saveable

#: What is compiled.
Compilable = Graph | Value | Mapping[str, Value]
#: Policies that most programs have.
_OF_STEPS: Final = ("store_all", "sqrt", "recompute")


@dataclass(frozen=True)
class Options:
    """The options a program was compiled with; part of its pickle.

    ``memory_budget``: bytes, a share, or what fits; None for no limit. ``checkpoint``: the policy,
    by name or itself. ``backend`` and ``threads``: None where the current setting
    decides.
    """

    memory_budget: int | BudgetShare | BudgetFit | None = None
    checkpoint: str | Policy | Saveable = "store_all"
    sizes: tuple[tuple[str, int], ...] = ()
    pipeline: str | Pass = "O1"
    fuse: bool = True
    debug: bool | Literal["nan"] = False
    backend: str | None = None
    threads: int | str | None = None
    verify: bool = False
    tune: bool = False
    linalg: str = "fast"
    disable: tuple[str, ...] = ()
    freeze: bool = False


def read_program(program: object) -> tuple[Graph, bool]:
    """Return the graph of the program given to ``compile``, and True if it is one Value."""
    if isinstance(program, Graph | Mapping | Symbolic | SymbolicComplex):
        graph = program if isinstance(program, Graph) else Graph(program)
        if not graph.updates:
            check_without_updates(graph.nodes)
        return graph, isinstance(program, Symbolic | SymbolicComplex)
    hint = ""
    if isinstance(program, list | tuple):
        hint = 'name the results: sg.compile({"loss": loss, "dw": dw})'
    elif isinstance(program, str):
        hint = "read a text first: sg.compile(sg.parse(text))"
    elif hasattr(program, "run"):
        hint = "it is compiled already: f.run(feeds)"
    elif hasattr(program, "__array__"):
        hint = "it is known already: sg.constant(array) makes a value of it"
    elif callable(program):
        hint = "call it with inputs, and compile the value that it gives: sg.compile(model(x))"
    raise ArgumentError(
        f"compile takes a Graph, a Value or a dict of Values, not {kind_of(program)}", hint=hint
    )


def read_fuse(fuse: object) -> bool:
    """Return whether neighbouring operations are merged."""
    if isinstance(fuse, bool):
        return fuse
    raise ArgumentError(f"fuse={fuse!r} is neither True nor False")


def read_passes(pipeline: object) -> str | Pass:
    """Read the ``pipeline`` argument: the text of a pipeline, or a pass."""
    if isinstance(pipeline, str | Pass):
        return pipeline
    what = kind_of(pipeline)
    raise ArgumentError(
        f"pipeline={quote(pipeline)} is neither text nor a pass, but {what}",
        hint='a level, "O0" or "O1", passes as text, "dce,cse,fold", or a passes.base.Pass',
    )


def read_names(disable: object) -> tuple[str, ...]:
    """Read the ``disable`` argument: the sorted names of passes to leave out."""
    names = [*disable] if isinstance(disable, Iterable) and not isinstance(disable, str) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            f"disable={quote(disable)} is not a list of names of passes",
            hint='disable=["winograd"]',
        )
    return tuple(sorted(set(names)))


def disable_early_passes(passes: Pipeline, names: tuple[str, ...]) -> Pipeline:
    """Return a pipeline without the disabled passes, after all names are checked.

    Late passes, and those that budgets try, are not in the pipeline of a program.
    """
    if not names:
        return passes
    from passes.base import disable_passes
    from passes.pipelines import LATE, NARROW_FACTORS, OF_BUDGETS, PRICES, pipeline

    enabled = disable_passes(passes, names, (*LATE, *OF_BUDGETS, NARROW_FACTORS, PRICES))
    disable_passes(pipeline("late"), [name for name in names if name in LATE])  # any required?
    return enabled


def read_checkpoint(passes: Pipeline, checkpoint: object) -> tuple[Pipeline, Policy]:
    """Read the ``checkpoint`` argument: a recomputation policy, and the passes.

    With a predicate a pass that clones nodes is added.
    """
    from passes.remat import Policy, as_policy

    if isinstance(checkpoint, Policy) or (isinstance(checkpoint, str) and checkpoint in _OF_STEPS):
        return passes, as_policy(checkpoint)
    from passes.saved import with_checkpoint

    return with_checkpoint(passes, checkpoint)


def read_sizes(sizes: Any) -> tuple[tuple[str, int], ...]:
    """Read the ``sizes`` argument: the values of named sizes, by name.

    Keys may be sizes that are only a name.
    """
    if sizes is not None and not isinstance(sizes, Mapping):
        raise ArgumentError(f"sizes={sizes!r} is not a dict", hint='sizes={"batch": 64}')
    return tuple(
        (str(name) if isinstance(name, Dim) else name, read_size(name, value))
        for name, value in (sizes or {}).items()
    )


def read_size(name: object, value: Any) -> int:
    """Read and check the value of one named size."""
    try:
        size = -1 if isinstance(value, bool) else index(value)
    except TypeError:
        size = -1
    if size < 0:
        raise ArgumentError(
            f"size {str(name)!r} is {value!r}, not a number of elements", hint="a whole number"
        )
    return size


def all_sizes(graph: Graph, fixed: Mapping[str, int], sizes: Mapping[str, Any]) -> dict[str, int]:
    """Return a value for each size that ``graph`` declares, from fixed and given ones."""
    declared = [*graph.sizes]
    sizes_by_name = {**fixed, **{name: read_size(name, value) for name, value in sizes.items()}}
    for name in sizes_by_name:
        if name not in declared:
            raise unknown_size(name, graph)
    for name in declared:
        if name not in sizes_by_name:
            hint = f"its sizes are {', '.join(declared)}: give each a value, {name}=..."
            raise UnknownNameError(f"size {name!r} is missing", hint=hint)
    return {name: sizes_by_name[name] for name in declared}


def unknown_size(name: object, graph: Graph) -> UnknownNameError:
    """Return the error for a named size that ``graph`` does not have."""
    names = [*graph.sizes]
    shapes = [f"{value.node.label} {value.shape}" for value in graph.inputs]
    return UnknownNameError(
        f"the graph has no size {str(name)!r}",
        hint=f"{did_you_mean(name, names)}its sizes are {list_names(names)}"
        if names
        else f"all its sizes are fixed: {list_names(shapes)}",
    )


def read_budget(budget: Any) -> int | BudgetShare | BudgetFit | None:
    """Read ``memory_budget``: bytes, a share of storing everything, or "fit"."""
    if budget is None or isinstance(budget, BudgetShare | BudgetFit):
        return budget
    if isinstance(budget, str) and budget.strip().lower() == "fit":
        return BudgetFit()
    share = read_share(budget)
    if share is not None:
        return BudgetShare(share)
    nbytes = read_bytes(budget)
    if nbytes is None and (isinstance(budget, float) or "%" in str(budget)):
        raise ArgumentError(
            f"memory_budget={budget!r}: a share of what storing everything needs is above 0 and at"
            " most 1 (100%)",
            hint="bytes are a whole number, 2_000_000, or text with a unit, '2MB'",
        )
    if nbytes is None:
        raise ArgumentError(
            f"memory_budget={budget!r} is not a number of bytes, no share and not 'fit'",
            hint=f"{SPELLING}; {SHARES}; 'fit' is what fits in memory",
        )
    return nbytes


def room_here(budget: int | BudgetShare | BudgetFit | None) -> int | BudgetShare | BudgetFit | None:
    """Return the memory budget in bytes; for "fit", what this process may use."""
    if not isinstance(budget, BudgetFit) or budget.room is not None:
        return budget
    room = processors.allowed_memory()
    if room is None:
        raise ArgumentError(
            "memory_budget='fit': this system does not say how much memory a process may have",
            hint="a number of bytes, '8GiB', or a share, '50%'",
        )
    return BudgetFit(room)


def feeds_by_keyword(names: Iterable[str]) -> UnknownFeedError:
    """Return the error for ``f.run(x=array)``, or for an option that belongs to ``compile``."""
    names = [*names]
    options = [name for name in names if name in Options.__annotations__]
    if options:
        return UnknownFeedError(
            f"run takes feeds alone, not {list_names(options)}",
            hint=f"compile with it: sg.compile(program, {options[0]}=...)",
        )
    shown = ", ".join(f'"{name}": ...' for name in names)
    return UnknownFeedError(
        f"feeds are no keywords: {list_names([*names])}",
        hint=f"they go in a dict: f.run({{{shown}}})",
    )
