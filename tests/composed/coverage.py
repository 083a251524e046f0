"""Count the decisions of the compiler that composed programs and the corpus take.

A decision is a pass that changes a graph, a move that changes groups, a path of `benchmarks.paths`
where it differs from the general one, a kind of group, step or stage, a directive of a kernel, or a
reason for which a loop is no kernel. ``python -m tests.composed.coverage`` writes the page.
"""

import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import click

import staticgrad as sg
from benchmarks import ablation, paths
from passes import base
from passes.pipelines import LATE, NARROW_FACTORS, OF_BUDGETS, PASSES, RARE
from staticgrad.compiler.fusion.groups import GroupKind
from staticgrad.compiler.fusion.merging import MOVES
from staticgrad.compiler.lowering import fuse
from staticgrad.compiler.lowering.loops import time_loops
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal
from staticgrad.compiler.nest import directives
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.kernels.directives import Interleave, Prefetch, Vector
from staticgrad.language.ir.kernels.stages import Stage, nested_stages
from staticgrad.language.ir.schedule import CallStep, KernelStep
from staticgrad.native.machine import current
from tests.composed.check import Case
from tests.composed.doors import LOWERED
from tests.composed.grammar import random_program

#: Decision -> why no composed program takes it.
REASONS = {}
PAGE = Path(__file__).parents[2] / "benchmarks" / "results" / "decisions.md"


def name_move(move):
    """Return the name of a move, with what it is bound to."""
    function = getattr(move, "func", move)
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
        "move": dict.fromkeys(map(name_move, MOVES)),
        "path": [path.name for path in paths.PATHS if not path.is_pass],
        "group": get_args(GroupKind),
        "step": STEPS,
        "stage": [stage.__name__ for stage in get_args(Stage)],
        "directive": DIRECTIVES,
        "loop that is no kernel": [reason.name for reason in LoopRefusal],
    }
    return [(group, name) for group, names in groups.items() for name in names]


@contextmanager
def watching():
    """Count the decisions that are counts in this block."""
    counts = Counter()
    moves = {getattr(move, "func", move).__code__: move for move in MOVES}

    def on_move(frame, result):
        if result:
            move = moves[frame.f_code]
            if "across" in frame.f_locals:
                move = next(m for m in MOVES if getattr(m, "func", m).__code__ is frame.f_code
                            and m.keywords["across"] == frame.f_locals["across"])  # fmt: skip
            counts["move", name_move(move)] += 1

    def on_pass(frame, result):
        pass_ = frame.f_locals["pass_"]
        is_changed = result is not None and result[0] is not frame.f_locals["program"]
        if is_changed and not isinstance(pass_, base.Pipeline | base.Fixpoint):
            counts["pass", pass_.name] += 1

    def on_group(frame, result):
        counts["group", frame.f_locals["group"].kind] += result is not None

    def on_loop(_, result):
        if isinstance(result, LoopRefusal):
            counts["loop that is no kernel", result.name] += 1

    def on_directives(_, result):
        counts.update(("directive", name_directive(d)) for d in result or ())

    def on_schedule(_, result):
        if result is not None:
            count_steps(result.schedule, counts)

    def on_narrow(frame, result):
        if result is not None and result is not frame.f_locals["groups"].graph:
            counts["pass", NARROW_FACTORS] += 1

    watched = dict.fromkeys(moves, on_move) | {
        base._run_pass.__code__: on_pass,
        fuse._Builder.lower_group.__code__: on_group,
        time_loops.lower_time_loop.__code__: on_loop,
        directives.defaults.__code__: on_directives,
        fuse.lower_groups.__code__: on_schedule,
        fuse._with_narrow_factors.__code__: on_narrow,
    }

    def profile(frame, event, result):
        if event == "return" and frame.f_code in watched:
            watched[frame.f_code](frame, result)

    with paths.counting() as hits:
        sys.setprofile(profile)
        try:
            yield counts
        finally:
            sys.setprofile(None)
            for path in paths.PATHS:
                if not path.is_pass and hits[path.name]:
                    counts["path", path.name] += hits[path.name]


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
        " ablation's corpus (`benchmarks/ablation.py`), so many take each decision. A composed",
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
