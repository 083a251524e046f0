"""``python -m tests.emulated run --python PYTHON --record FILE --seconds N``: slices of the tests.

``PYTHON`` starts an interpreter of another processor (``.ci/aarch64`` builds one). Digests and
files of tests run one by one, those first that have not run for longest, until the seconds are
used up. The record has a line for each: how it ended, on which commit, and what pytest counted.
"""

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
#: What the tests need of their requirements: those without a wheel for each processor skip tests.
TEST = (
    "pytest", "pytest-xdist", "hypothesis", "ml_dtypes", "mpmath", "safetensors", "cloudpickle",
    "scikit-learn",
)  # fmt: skip
#: One digest in so many is a slice.
DIGESTS = 40
#: Folders of tests that check the text of the project, or other libraries: once is enough.
ELSEWHERE = ("repository", "typing", "benchmarks", "bridges", "helpers", "golden_bits")
#: The longest that a slice may take.
LIMIT = 3600.0


def slices():
    """Return the slices by name: arguments of the interpreter."""
    digests = {
        f"golden_bits {number}/{DIGESTS}": [
            *("-m", "tests.golden_bits", "--every", str(DIGESTS), "--first", str(number)),
        ]
        for number in range(DIGESTS)
    }
    files = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    return digests | {
        path.as_posix(): ["-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", path.as_posix()]
        for path in files
        if path.parts[1] not in ELSEWHERE
    }


def read(record):
    """Return the lines of a record by the names of slices, the oldest first."""
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    return {line.split(" | ")[0]: line for line in lines}


def order(names, lines):
    """Return names of slices: those without a line first, then those with the oldest."""
    return [name for name in names if name not in lines] + [name for name in lines if name in names]


def run(python, arguments, limit):
    """Run a slice; return how it ended, and the last line that it printed."""
    try:
        result = subprocess.run(
            [python, *arguments], cwd=ROOT, timeout=limit, text=True, capture_output=True
        )
    except subprocess.TimeoutExpired:
        return "not finished", f"after {limit:.0f} s"
    last = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()][-1:]
    if result.returncode not in (0, 5):  # 5: pytest chose no test
        click.echo(result.stdout[-4000:] + result.stderr[-4000:])
    return ("passed" if result.returncode in (0, 5) else "FAILED"), "".join(last).strip("= ")


@click.group()
def main():
    """Tests on an emulated processor."""


@main.command()
def requirements():
    """Print the requirements of the package, and those of tests that other processors have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tests = project["optional-dependencies"]["test"]
    click.echo(
        "\n".join([*project["dependencies"], *(t for t in tests if t.split(">")[0] in TEST)])
    )


@main.command(name="run")
@click.option("--python", required=True)
@click.option("--record", required=True, type=click.Path(path_type=Path))
@click.option("--seconds", default=3600.0)
def run_slices(python, record, seconds):
    """Run slices for so many seconds, and record how each ended."""
    head = ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, text=True, capture_output=True).stdout.strip() or "-"
    end, lines, failed = time.monotonic() + seconds, read(record), []
    chosen = slices()
    for name in order(chosen, lines):
        left = end - time.monotonic()
        if left <= 0:
            break
        ended, last = run(python, chosen[name], min(left, LIMIT))
        if ended == "not finished" and left < LIMIT:
            break  # for lack of time, not for its length
        failed += [name] * (ended == "FAILED")
        lines.pop(name, None)
        lines[name] = f"{name} | {ended} | {commit} | {last}"
        record.write_text("".join(f"{line}\n" for line in lines.values()), "utf-8")
        click.echo(lines[name])
    click.echo(f"{len(lines)} of {len(chosen)} slices have run; {record}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
