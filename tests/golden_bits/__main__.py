"""``python -m tests.golden_bits [--write] [PREFIX ...]``: compare digests, or write them.

``STATICGRAD_TARGET``, ``STATICGRAD_JIT`` and other settings choose how the programs are compiled.
"""

import platform
import sys
import time

import click

from tests.golden_bits.programs import DIGESTS, digest, programs, read

HEAD = "# Written by python -m tests.golden_bits --write: program | inputs results, or routines.\n"


@click.command()
@click.argument("prefixes", nargs=-1)
@click.option("--write", is_flag=True, help="write the digests of this machine")
@click.option("--every", default=1, help="take one program in so many")
@click.option("--backend", default=None, help="a backend: numba")
@click.option("--threads", default=None, type=int, help="threads of each program")
@click.option("--budget", default=None, type=int, help="bytes of each arena, where they suffice")
def main(prefixes, write, every, backend, threads, budget):
    """Compare the digests of programs whose names begin with PREFIXES."""
    named = {"backend": backend, "threads": threads, "memory_budget": budget}
    options = {name: value for name, value in named.items() if value is not None}
    expected, begin, different = read(), time.perf_counter(), 0
    chosen = {name: build for name, build in programs().items() if name.startswith(prefixes or "")}
    chosen = dict([*chosen.items()][::every])
    for name, build in chosen.items():
        found = digest(name, build, **options)
        if found != expected.get(name):
            different += 1
            click.echo(f"{name} | {found} | expected {expected.get(name)}")
        expected[name] = found
    seconds = time.perf_counter() - begin
    click.echo(
        f"{platform.machine()}: {len(chosen)} programs, {different} differ, {seconds:.0f} s",
        err=True,
    )
    if write:
        lines = (f"{name} | {expected[name]}\n" for name in programs() if name in expected)
        DIGESTS.write_text(HEAD + "".join(lines), "utf-8")
    sys.exit(bool(different) and not write)


if __name__ == "__main__":
    main()
