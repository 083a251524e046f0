"""What was measured: each file of results is found by the page that says which command wrote it."""

import re
from importlib.util import find_spec
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PAGE = (RESULTS / "README.md").read_text("utf-8")


def test_each_file_is_of_one_command_of_the_page() -> None:
    table = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ")][1:]
    rows = [re.findall(r"`([\w.*-]+)`", files) for *_, files, _ in table]
    found: dict[str, int] = {path.name: 0 for path in RESULTS.iterdir() if path.suffix != ""}
    del found["README.md"]
    for patterns in rows:
        for name in {path.name for pattern in patterns for path in RESULTS.glob(pattern)}:
            found[name] += 1
    assert {name: times for name, times in found.items() if times != 1} == {}
    assert all([*RESULTS.glob(pattern)] for patterns in rows for pattern in patterns)


def test_commands_of_the_page_exist() -> None:
    commands = re.findall(r"`python -m ([\w.]+)", PAGE)
    assert len(commands) > 8
    assert [name for name in commands if find_spec(name) is None] == []
