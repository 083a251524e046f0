"""``python -m tests.golden_bits [--write] [PREFIX ...]``: compare digests, or write them.

``STATICGRAD_JIT`` and other settings choose how the programs are compiled, ``--rung`` for which
processor.
"""

import platform
import sys
import time
import warnings
from dataclasses import replace

import click

import staticgrad as sg
from staticgrad.native import loader
from staticgrad.native.target import ladder
from staticgrad.support import config
from staticgrad.testing.bits import digest
from tests.golden_bits.programs import programs, read, write as write_digests


def rungs():
    """Return targets by name: the ladder's of this machine, vectors of 128 bits, and the first one
    without instructions that multiply bfloat16 numbers or bytes, and by that of bfloat16 where it
    takes longer than FMAs and is not used."""
    targets = {f"{target.cpu}-{target.level}": target for target in ladder()}
    last = ladder()[-1]
    narrow = replace(last, features=f"{last.features},+prefer-128-bit", vector_bits=128)
    targets |= {"128-bits": narrow} if last.vector_bits > 128 else {}
    first, features = ladder()[0], ladder()[0].features
    for feature in ("avx512bf16", "avx512vnni", "avxvnni"):
        features = features.replace(f"+{feature}", f"-{feature}")
    targets |= {"without-narrow-products": replace(first, features=features)}
    by_one = replace(first, cpu="znver4")
    return targets | ({"pairs-by-one-instruction": by_one} if by_one.multiplies_pairs else {})


def least_budget(build):
    """Return the smallest peak that a plan of a program has, which recomputes what it can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = build()
        graph = sg.Graph(program.outputs, updates=dict(program.updates))
        try:
            return sg.compile(graph, memory_budget=1).plan().peak_bytes
        except sg.errors.BudgetInfeasible as error:
            return error.smallest_peak


@click.command()
@click.argument("prefixes", nargs=-1)
@click.option("--write", is_flag=True, help="write the digests of this machine")
@click.option("--every", default=1, help="take one program in so many")
@click.option("--first", default=0, help="with --every: the first one's number")
@click.option("--backend", default=None, help="a backend: numba")
@click.option("--threads", default=None, type=int, help="threads of each program")
@click.option(
    "--tight", is_flag=True, help="with the smallest budget that a program has a plan for"
)
@click.option("--rung", default=None, help="compile for a target that --rungs lists")
@click.option("--rungs", "lists_rungs", is_flag=True, help="list the targets of this machine")
@click.option("--seconds", default=float("inf"), help="begin no program after so many")
def main(prefixes, write, every, first, backend, threads, tight, rung, lists_rungs, seconds):
    """Compare the digests of programs whose names begin with PREFIXES."""
    if lists_rungs:
        click.echo("\n".join(rungs()))
        return
    if rung is not None:
        loader._chosen[config.current().target] = rungs()[rung]
    named = {"backend": backend, "threads": threads}
    options = {name: value for name, value in named.items() if value is not None}
    expected, begin, count, different = {**read()}, time.perf_counter(), 0, 0
    chosen = {name: build for name, build in programs().items() if name.startswith(prefixes or "")}
    for name, build in [*chosen.items()][first::every]:
        if time.perf_counter() - begin > seconds:
            break
        budget = {"memory_budget": least_budget(build)} if tight else {}
        actual, count = digest(build, **options, **budget), count + 1
        # The interpreter calls libraries where the compiled program has kernels.
        if actual != expected.get(name) and (":" not in actual or config.current().jit):
            different += 1
            click.echo(f"{name} | {actual} | expected {expected.get(name)}")
        expected[name] = actual
    took = f"{time.perf_counter() - begin:.0f} s"
    click.echo(f"{platform.machine()}: {count} programs, {different} differ, {took}", err=True)
    if write:
        write_digests(expected)
    sys.exit(bool(different) and not write)


if __name__ == "__main__":
    main()
