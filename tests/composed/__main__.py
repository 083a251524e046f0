"""``python -m tests.composed FIRST LAST``: check the programs of these seeds.

Each goes through every door, or with ``--few`` through those whose turn it is, as in the quick
tests. A failure prints its seed and the smallest program that fails alike, as a script. With
``--jobs`` processes of their own check a hundred seeds each, so that one that aborts is a failure
too; ``--shard 2/5`` takes the second of five parts of these hundreds.
"""

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import click

from tests.composed.runs import Run, shrink_failure
from tests.composed.scripts import write_script

CHUNK = 100  # seeds of a process


@click.command(help=__doc__)
@click.argument("first", type=int)
@click.argument("last", type=int)
@click.option("--few", is_flag=True)
@click.option("--tries", default=300, help="programs that are tried to shrink a failure")
@click.option("--jobs", default=0, help="processes that run at once; 0: this one")
@click.option("--shard", default="1/1", help="which part of the seeds, of how many")
def main(first, last, few, tries, jobs, shard):
    """Check the programs of some seeds, here or in processes of their own."""
    begin = time.perf_counter()
    failures = (
        run_jobs(first, last, few, jobs, shard) if jobs else run_here(first, last, few, tries)
    )
    seconds = time.perf_counter() - begin
    click.echo(f"seeds {first} to {last}, {shard}: {failures} failures, {seconds:.0f} s")
    sys.exit(bool(failures))


def run_here(first, last, few, tries):
    """Check these seeds, print failures and counts, and return how many failed."""
    run = Run()
    for seed in range(first, last):
        error = run.check(seed, not few)
        if error is not None:
            click.echo(f"seed {seed}: {error}")
            start = "compiled" if not few or seed % 8 == 0 else "python"
            smallest = shrink_failure(run.programs[seed], error, start, tries)
            click.echo(f"# seed {seed}, {error.door}\n{write_script(smallest)}")
            sys.stdout.flush()
    click.echo(run.summary())
    return len(run.programs)


def run_jobs(first, last, few, jobs, shard):
    """Check the hundreds of a shard in processes; print what failed; return how many did."""
    place, shards = map(int, shard.split("/"))
    chunks = range(first + (place - 1) * CHUNK, last, CHUNK * shards)
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda start: run_chunk(start, min(start + CHUNK, last), few), chunks)
        totals, failures = Counter(), 0
        for count, text, counts in outcomes:
            failures += count
            totals.update(counts)
            if text:
                click.echo(text)
    for line in sorted({line for line, _ in totals}):
        pairs = ", ".join(f"{n} {c}" for (group, n), c in sorted(totals.items()) if group == line)
        click.echo(f"{line}: {pairs}")
    return failures


def run_chunk(first, last, few):
    """Check seeds in a process; where it ends by a signal, each seed in one of its own.

    Returns:
        How many failed, the text of the failures, and the counts of the summary.
    """
    command = [sys.executable, "-W", "error", "-m", "tests.composed", str(first), str(last)]
    ran = subprocess.run([*command, *["--few"] * few], capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1) and last - first > 1:
        parts = [run_chunk(seed, seed + 1, few) for seed in range(first, last)]
        texts, counts = (text for _, text, _ in parts), Counter()
        for _, _, part in parts:
            counts.update(part)
        return sum(count for count, _, _ in parts), "".join(filter(None, texts)), counts
    if ran.returncode not in (0, 1):
        return 1, f"seed {first}: the process ends with {ran.returncode}\n{ran.stderr}", Counter()
    lines, counts = ran.stdout.splitlines(), Counter()
    lines = lines[:-1]  # how long it took
    for line in (lines.pop(), lines.pop()):
        name, _, pairs = line.partition(": ")
        for pair in filter(None, pairs.split(", ")):
            what, _, count = pair.rpartition(" ")
            counts[name, what] += int(count)
    return sum(line.startswith("seed ") for line in lines), "\n".join(lines), counts


if __name__ == "__main__":
    main()
