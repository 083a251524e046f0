"""``python -m tests.composed FIRST LAST``: check the programs of these seeds.

Each goes through every door, or with ``--few`` through those whose turn it is, as in the quick
tests. A failure prints its seed and the smallest program that fails alike, as a script. With
``--jobs`` processes of their own check a hundred seeds each, so that one that aborts is a failure
too; ``--shard 2/5`` takes the second of five parts of these hundreds.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.composed.runs import Run, shrink_failure, summarize
from tests.composed.scripts import write_script

CHUNK = 100  # seeds of a process


@click.command(help=__doc__)
@click.argument("first", type=int)
@click.argument("last", type=int)
@click.option("--few", is_flag=True)
@click.option("--tries", default=300, help="programs that are tried to shrink a failure")
@click.option("--jobs", default=0, help="processes that run at once; 0: this one")
@click.option("--shard", default="1/1", help="which part of the seeds, of how many")
@click.option("--counts", type=click.Path(path_type=Path), help="a file for the counts, as JSON")
def main(first, last, few, tries, jobs, shard, counts):
    """Check the programs of some seeds, here or in processes of their own."""
    begin = time.perf_counter()
    if jobs:
        failures = run_jobs(first, last, few, jobs, shard)
    else:
        failures = run_here(first, last, few, tries, counts)
    seconds = time.perf_counter() - begin
    click.echo(f"seeds {first} to {last}, {shard}: {failures} failures, {seconds:.0f} s")
    sys.exit(bool(failures))


def run_here(first, last, few, tries, file=None):
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
    if file is not None:
        file.write_text(json.dumps({"failures": len(run.programs), "counts": run.counts()}))
    return len(run.programs)


def run_jobs(first, last, few, jobs, shard):
    """Check the hundreds of a shard in processes; print what failed; return how many did."""
    place, shards = map(int, shard.split("/"))
    chunks = range(first + (place - 1) * CHUNK, last, CHUNK * shards)
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda start: run_chunk(start, min(start + CHUNK, last), few), chunks)
        totals, failures = {}, 0
        for count, text, counts in outcomes:
            failures += count
            add_counts(totals, counts)
            if text:
                click.echo(text)
    click.echo(summarize(totals))
    return failures


def add_counts(totals, counts):
    """Add the counts of a run to those of others, group by group."""
    for group, numbers in counts.items():
        totals.setdefault(group, Counter()).update(numbers)


def run_chunk(first, last, few):
    """Check seeds in a process; where it ends by a signal, each seed in one of its own.

    Returns:
        How many failed, the text of the failures, and the counts of the summary.
    """
    command = [sys.executable, "-W", "error", "-m", "tests.composed", str(first), str(last)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "counts.json"
        command += [*["--few"] * few, "--counts", str(file)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        outcome = json.loads(file.read_text()) if file.exists() else None
    if outcome is not None:
        lines = ran.stdout.splitlines()[: -len(outcome["counts"]) - 1]  # without the summary
        return outcome["failures"], "\n".join(lines), outcome["counts"]
    if last - first == 1:
        return 1, f"seed {first}: the process ends with {ran.returncode}\n{ran.stderr}", {}
    failures, texts, totals = 0, [], {}
    for seed in range(first, last):
        count, text, counts = run_chunk(seed, seed + 1, few)
        failures += count
        texts += [text] if text else []
        add_counts(totals, counts)
    return failures, "\n".join(texts), totals


if __name__ == "__main__":
    main()
