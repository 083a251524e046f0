"""Count the decisions of the compiler that composed programs and the corpus take.

A decision is a pass that changes a graph, a move that changes groups, a path of
`benchmarks.compiler.paths` where it differs from the general one, a kind of group, step or stage, a
directive of a kernel, or a reason for which a loop is no kernel. ``python -m
tests.composed.coverage`` writes the page.
"""

import inspect
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import get_args

import click

import staticgrad as sg
from benchmarks.compiler import ablation, paths
from passes import base
from passes.pipelines import LATE, NARROW_FACTORS, OF_BUDGETS, PASSES, RARE
from staticgrad.compiler.fusion import merging
from staticgrad.compiler.fusion.groups import GroupKind
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.kernels.directives import Interleave, Prefetch, Vector
from staticgrad.language.ir.kernels.stages import Stage, nested_stages
from staticgrad.language.ir.schedule import CallStep, KernelStep
from staticgrad.native.machine import current
from tests.composed.check import Case
from tests.composed.doors import LOWERED
from tests.composed.grammar import random_program

_WINDOWS = "of convolutions of many channels or long strides: tests/compiled/test_convolutions.py"
_BUDGET = "of budgets below what all other plans of a program need"
_MEMORY = "of arrays beyond a cache"
#: Decision -> why no composed program takes it.
REASONS = {
    (
        "pass",
        "parts",
    ): "of an op that computes what another one computes, too: tests/passes/test_cse.py",
    ("pass", "one-hot-products"): "of long rows in large products: tests/passes/test_one_hot.py",
    ("pass", "thin-batches"): "of large products: tests/passes/test_batches.py",
    ("pass", "byte-products"): "of 8-bit integers: tests/passes/test_byte_products.py",
    ("pass", "paired-factors"): "of bfloat16 factors in loops: tests/passes/test_narrow_loops.py",
    ("pass", "border-taps"): _WINDOWS,
    ("pass", "space-to-depth"): _WINDOWS,
    ("pass", "winograd"): _WINDOWS,
    ("pass", "wide-totals"): "of 16-bit floats, whose rounding differences do not follow",
    ("pass", "split-k"): "of products of two blocks of terms (GEMM_BLOCK) and more",
    ("pass", "split-scatters"): "of 16 elements and more for each target",
    ("pass", "compact-scatters"): "of four rows of a table and more for each that is added",
    ("pass", "checks-before-writes"): "of indices that a step checks behind a parameter's write",
    (
        "pass",
        "transposed-factors",
    ): "of factors in loops of 8 iterations and more, and weights of 64 rows",
    (
        "pass",
        "shared-stacks",
    ): "of factors in loops of 8 iterations and more, and weights of 64 rows",
    ("pass", "panels"): "of factors in loops of 16 iterations and more",
    ("pass", "recomputed-products"): f"{_BUDGET}: tests/passes/test_chunks.py",
    ("pass", "products-in-loops"): f"{_BUDGET}: tests/memory/test_rows_inside.py",
    ("pass", "segments"): f"{_BUDGET}: tests/compiled/test_divided_loops.py",
    ("move", "split totals"): "of a total and column sums of rows that read one large array",
    ("move", "join sibling of two phases"): "of groups of both phases that read one array",
    ("move", "merge scatters"): "of several scatters of one shape",
    ("path", "totals"): "of a total and column sums of rows that read one large array",
    ("path", "cutting"): "of chains that wait for latencies, over many elements",
    ("path", "transposed_outputs"): _MEMORY,
    ("path", "streams"): _MEMORY,
    ("path", "loop_stretches"): _MEMORY,
    ("path", "row_strips"): _MEMORY,
    ("path", "channels"): _WINDOWS,
    ("path", "filter_columns"): _WINDOWS,
    ("path", "columns"): _WINDOWS,
    ("path", "phases"): _WINDOWS,
    ("path", "rows_for_lanes"): "of products of more rows than lanes and few columns",
    ("path", "far_rows"): _WINDOWS,
    ("path", "constant_steps"): "of constants that kernels read in another layout",
    ("path", "in_panels"): "of factors in loops of 16 iterations and more",
    ("directive", "vectors, peel"): "of registers without masks",
    ("directive", "stream"): _MEMORY,
    ("directive", "strips"): _MEMORY,
    **{
        ("loop that is no kernel", reason.name): f"no program has such a loop: {reason}"
        for reason in LoopRefusal
    },
}
PAGE = Path(__file__).parents[2] / "benchmarks" / "results" / "compiler" / "decisions.md"


def name_move(move):
    """Return the name of a move, with what it is bound to."""
    function = inspect.unwrap(getattr(move, "func", move))
    bound = getattr(move, "keywords", {})
    name = function.__name__.lstrip("_").replace("_", " ")
    return f"{name} of two phases" if bound.get("across") else name


def name_directive(directive):
    """Return the kind of a directive: what it concerns, without its numbers."""
    match directive:
        case Vector(tail):
            return f"vectors, {tail}"
        case Interleave(axis) | Prefetch(axis):
            what = {"o": "rows", "j": "vectors", "*": "elements"}.get(axis, "a loop")
            return f"{type(directive).__name__.lower()} {what}"
    return type(directive).__name__.lower()


DIRECTIVES = (
    "vectors, peel", "vectors, mask", "interleave rows", "interleave vectors", "interleave a loop",
    "prefetch elements", "prefetch vectors", "prefetch a loop", "stream", "strips",
)  # fmt: skip
BODIES = ("loop", "while", "branch")
STEPS = ("kernel", "call", *(f"{kind} of the driver" for kind in BODIES))


def decisions():
    """Return (group, name) of every decision, in the order of the page."""
    groups = {
        "pass": [*(p.name for p in PASSES), *RARE, *LATE, *OF_BUDGETS, NARROW_FACTORS],
        "move": dict.fromkeys(map(name_move, merging.MOVES)),
        "path": [path.name for path in paths.PATHS if not path.is_pass],
        "group": get_args(GroupKind),
        "step": STEPS,
        "stage": [stage.__name__ for stage in get_args(Stage)],
        "directive": DIRECTIVES,
        "loop that is no kernel": [reason.name for reason in LoopRefusal],
    }
    return [(group, name) for group, names in groups.items() for name in names]


def count_results(count):
    """Return a maker of functions that call another one, and count its result and arguments."""

    def make(function):
        @wraps(function)
        def call(*args, **more):
            result = function(*args, **more)
            count(result, *args)
            return result

        return call

    return make


@contextmanager
def watching():
    """Count the decisions that are taken in this block."""
    counts = Counter()

    def count_move(move):
        def call(engine, group):
            changed = move(engine, group)
            counts["move", name_move(move)] += bool(changed)
            return changed

        return call

    def count_pass(result, pass_, program, *_):
        if result[0] is not program and not isinstance(pass_, base.Pipeline | base.Fixpoint):
            counts["pass", pass_.name] += 1

    def count_group(_, builder, groups, group):
        counts["group", group.kind] += 1

    def count_loop(result, *_):
        if isinstance(result, LoopRefusal):
            counts["loop that is no kernel", result.name] += 1

    def count_directives(result, *_):
        counts.update(("directive", name_directive(directive)) for directive in result)

    def count_schedule(result, *_):
        count_steps(result.schedule, counts)

    def count_narrow(result, groups, _):
        if result is not groups.graph:
            counts["pass", NARROW_FACTORS] += 1

    watched = {
        "passes.base:_run_pass": count_pass,
        "staticgrad.compiler.lowering.fuse:_Builder.lower_group": count_group,
        "staticgrad.compiler.lowering.loops.time_loops:lower_time_loop": count_loop,
        "staticgrad.compiler.nest.directives:defaults": count_directives,
        "staticgrad.compiler.lowering.fuse:lower_groups": count_schedule,
        "staticgrad.compiler.lowering.fuse:_with_narrow_factors": count_narrow,
    }
    moves = merging.MOVES
    with ExitStack() as stack:
        hits = stack.enter_context(paths.counting())
        for where, count in watched.items():
            path = paths.Path("", where)
            stack.enter_context(paths.replace_path(path, count_results(count)))
        # Of ``paths.counting``, which has put its own functions into the table.
        merging.MOVES = tuple(map(count_move, merging.MOVES))
        try:
            yield counts
        finally:
            merging.MOVES = moves
            names = {path.name for path in paths.PATHS if not path.is_pass}
            counts.update({("path", name): n for name, n in hits.items() if name in names})


def count_steps(schedule, counts):
    """Count the kinds of steps of a schedule and of the stages of its kernels."""
    for step in schedule.steps:
        if isinstance(step, KernelStep):
            counts["step", "kernel"] += 1
            for stage, _ in nested_stages(step.kernel.stages):
                counts["stage", type(stage).__name__] += 1
        elif isinstance(step, BodyStep):
            counts["step", f"{step.kind} of the driver"] += 1
        elif isinstance(step, CallStep):
            counts["step", "call"] += 1


#: How composed programs are compiled for the table: settings and arguments of ``sg.compile``.
WAYS = {
    "as users do": ({}, {}),
    "lowered limits": ({"limits": LOWERED}, {}),
    "least memory": ({"limits": LOWERED}, {"memory_budget": 0}),
    "recomputed": ({}, {"checkpoint": "recompute"}),
    "O2": ({"limits": LOWERED}, {"pipeline": "O2"}),
    "narrow": ({}, {"pipeline": "O1,narrow"}),
    "saved": ({}, {"pipeline": "saved{policy='dots_saveable'},O1"}),
}


def decisions_of(graph, settings, options):
    """Return the decisions that compiling a graph takes, its kernels written but not compiled."""
    with watching() as counts, sg.options(jit=False, **settings):
        try:
            program = sg.compile(graph, threads=1, **options)
        except sg.BudgetInfeasible as error:
            program = sg.compile(graph, threads=1, memory_budget=error.smallest_peak)
        for kernel in program.kernels:
            kernel.source  # noqa: B018
    return {decision for decision, count in counts.items() if count}


def count_programs(count):
    """Return how many of so many composed programs take each decision, some way or other."""
    totals = Counter()
    for seed in range(count):
        graph, ways = Case(random_program(seed)).graph, [*WAYS.values()]
        chosen = {0: ways[0], 1: ways[1], 2: ways[2 + seed % (len(ways) - 2)]}
        totals.update(set().union(*(decisions_of(graph, *way) for way in chosen.values())))
    return totals


def count_corpus():
    """Return how many programs of the corpus take each decision, and how many programs it has."""
    totals, programs = Counter(), ablation.corpus()
    for make in programs.values():
        graph, _ = make()
        totals.update(decisions_of(graph, {}, {}))
    return totals, len(programs)


# -- the page --------------------------------------------------------------------------------------


def write_page(programs, count, corpus, corpus_count):
    """Return the page: a table for each group of decisions."""
    lines = [
        "# Decisions of the compiler",
        "",
        f"Of {count} composed programs (`tests/composed`) and the {corpus_count} programs of the"
        " ablation's corpus (`benchmarks/compiler/ablation.py`), so many take each decision. A"
        " composed",
        "program is compiled as users do, with lowered limits (`staticgrad/support/limits.py`), and"
        " one other way in turn:",
        f"{', '.join([*WAYS][2:])}. Written by `python -m tests.composed.coverage`, with"
        f" {current().vector_bits}-bit registers.",
    ]
    for group in dict.fromkeys(group for group, _ in decisions()):
        names = [name for kind, name in decisions() if kind == group]
        lines += [
            "",
            f"## {group}",
            "",
            f"| {group} | composed | corpus | reason |",
            "|---|--:|--:|---|",
        ]
        for name in names:
            key = group, name
            reason = "" if programs[key] else REASONS.get(key, "")
            lines.append(f"| {name} | {programs[key]} | {corpus[key]} | {reason} |")
    return "\n".join(lines) + "\n"


def read_page():
    """Return (group, name) -> (composed, corpus, reason) of the page."""
    rows, group = {}, ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line.startswith("| ") and not line.startswith(f"| {group} |"):
            name, composed, corpus, reason = (cell.strip() for cell in line.strip("|").split("|"))
            rows[group, name] = int(composed), int(corpus), reason
    return rows


@click.command(help=__doc__)
@click.argument("count", default=300)
def main(count):
    """Count the decisions and write the page."""
    programs = count_programs(count)
    corpus, corpus_count = count_corpus()
    PAGE.write_text(write_page(programs, count, corpus, corpus_count), "utf-8")
    for key in decisions():
        if not programs[key] and key not in REASONS:
            click.echo(
                f"no program takes {key}, and no reason is given: in the corpus {corpus[key]}"
            )


if __name__ == "__main__":
    main()
