"""Some cases are quick: the same ones for everyone who runs the tests of a commit, others for
another commit, and each case that is left out is in the nightly run of that commit."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import mutants
from tests.helpers import thinning
from tests.helpers.commits import digest_of_commit
from tests.helpers.thinning import LONG, QUICK, RAREST, quick_cases

ROOT = Path(__file__).parents[2]
COMMITS = [f"commit {number}" for number in range(60)]


def family(*divisor, marked=True, budgeted=False, **parameters):
    cases = [{}]
    for name, values in parameters.items():
        cases = [{**case, name: value} for case in cases for value in values]
    mark = SimpleNamespace(args=divisor, kwargs={"budgeted": budgeted}) if marked else None
    return [
        SimpleNamespace(
            nodeid=f"test_it[{case}]",
            keywords={"slow": True},  # a folder above the tests has that name
            iter_markers=lambda: iter(()),
            callspec=SimpleNamespace(params=case),
            get_closest_marker=lambda name: mark,
        )
        for case in cases
    ]


# -- which cases are quick -------------------------------------------------------------------------


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 7, 20])
def test_one_case_in_n_is_quick_at_least_one(divisor):
    cases = family(divisor, a=range(10))
    for commit in COMMITS:
        quick = quick_cases(cases, commit)
        assert len(quick) == -(-10 // divisor)
        assert quick == quick_cases(cases, commit)


@pytest.mark.parametrize("seconds", [{"test_it": 0.3}, {"test_it[{'a': 3}]": 9.0}])
def test_a_family_with_a_budget_has_as_many_quick_cases_whatever_they_take(seconds):
    cases = family(4, a=range(12), budgeted=True)
    for commit in COMMITS:
        assert len(thinning.slow_cases(cases, commit, seconds)) == 12 - 3


def test_each_value_that_cases_share_is_quick_for_every_commit():
    cases = family(dtype=["f4", "f8", "i8"], layout=["a", "b"], workers=[1, 2, 3, 4])
    for commit in COMMITS:
        quick = quick_cases(cases, commit)
        for name in ("dtype", "layout", "workers"):
            values = {case.callspec.params[name] for case in cases}
            assert {cases[n].callspec.params[name] for n in quick} == values
        assert len(quick) <= 6


def test_each_function_has_a_case_for_every_commit():
    """Cases of functions and sizes: one size of each function, and each size of about as many."""
    cases = family(function=range(50), size=[0, 1, 3])
    counts = {0: 0, 1: 0, 3: 0}
    for commit in COMMITS:
        chosen = [cases[n].callspec.params for n in quick_cases(cases, commit)]
        assert sorted(case["function"] for case in chosen) == [*range(50)]
        for case in chosen:
            counts[case["size"]] += 1
    assert min(counts.values()) > 0.8 * len(COMMITS) * 50 / 3


def test_one_case_is_quick_where_cases_share_no_value():
    cases = family(a=range(9))
    assert {len(quick_cases(cases, commit)) for commit in COMMITS} == {1}


@pytest.mark.parametrize("divisor", [[], [2], [6]])
def test_other_cases_are_quick_for_other_commits(divisor):
    """Each case is in one run of six; within 60 commits all but one in 50,000 are."""
    cases = family(*divisor, dtype=["f4", "f8", "i8"], workers=[1, 2, 3, 4])
    runs = [quick_cases(cases, commit) for commit in COMMITS]
    assert set().union(*runs) == {*range(12)}
    assert len({frozenset(run) for run in runs}) > 10


def test_a_case_depends_on_its_name_and_the_commit_alone():
    """A case that is added changes the choice of one other case at most."""
    cases = family(3, a=range(12))
    for commit in COMMITS:
        quick = {cases[n].nodeid for n in quick_cases(cases, commit)}
        fewer = [case for number, case in enumerate(cases) if number != 5]
        again = {fewer[n].nodeid for n in quick_cases(fewer, commit)}
        assert len(quick - again) <= 1


def test_long_functions_have_few_quick_cases():
    cases = family(marked=False, a=range(20))
    for seconds, count in ((0.0, 20), (QUICK, 20), (4 * QUICK, 5), (0.99 * LONG, 1)):
        runs = [quick_cases(cases, commit, seconds) for commit in COMMITS]
        assert {*map(len, runs)} == {count}
    marked = family(10, a=range(20))
    assert len(quick_cases(marked, "a", 4 * QUICK)) == 2
    assert len(quick_cases(marked, "a", 0.99 * LONG)) == 1
    runs = [len(quick_cases(cases, commit, 100.0)) for commit in COMMITS]
    assert sum(runs) / len(COMMITS) == pytest.approx(20 / RAREST, abs=0.6)


@pytest.mark.parametrize(("seconds", "share"), [(2 * QUICK, 1 / 2), (100.0, 1 / RAREST)])
def test_a_long_test_is_quick_for_some_commits(seconds, share):
    alone = family(marked=False)
    runs = [len(quick_cases(alone, f"commit {n}", seconds)) for n in range(1000)]
    assert sum(runs) / 1000 == pytest.approx(share, abs=0.05)


def test_the_few_cases_that_a_mutant_names_are_quick_for_every_commit():
    (mutant,) = (row for row in mutants.MUTANTS if row.name == "wishart-draws-of-equal-degrees")
    file, _, word = mutant.tests.partition(" -k ")
    assert word.isidentifier()
    cases = [*family(marked=False), *family(marked=False), *family(marked=False, a=[1, 2])]
    for case, name in zip(cases, (word, "other", f"x[{word}]", "x[other]"), strict=True):
        case.nodeid = f"{file}::test_{name}"
    table = {case.nodeid: 100.0 for case in cases}
    slow = [thinning.slow_cases(cases, commit, table) for commit in COMMITS]
    assert {item.nodeid for items in slow for item in items} == {
        f"{file}::test_other",
        f"{file}::test_x[other]",
    }
    many = [f"{file}::test_{word}[{number}]" for number in range(thinning.FEW + 1)]
    assert thinning.cases_of_mutants(many[1:]) == {*many[1:]}
    assert not thinning.cases_of_mutants(many)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("", True),
        ("tanh", True),
        ("TANH and law", True),
        ("tanh and not law", False),
        ("sinh or law", True),
        ("(sinh or cosh)", False),
        ("not sinh and tanh", True),
    ],
)
def test_words_of_mutants_are_read_as_by_pytest(expression, holds):
    assert thinning.matches(expression, "tests/a.py::test_a_law[tanh-1]") == holds


def test_a_case_of_a_second_is_thinned_by_itself():
    cases = family(marked=False, a=range(3))
    table = {cases[1].nodeid: 50.0}
    slow = [thinning.slow_cases(cases, commit, table) for commit in COMMITS]
    assert all(names in ([], [cases[1]]) for names in slow)
    assert 0 < slow.count([]) < len(COMMITS) / 3


def test_the_table_of_seconds_keeps_what_did_not_run(tmp_path):
    path = tmp_path / "seconds.txt"
    measured = {"a[1]": 2 * QUICK, "a[2]": 4 * QUICK, "b": QUICK / 2, "c[1]": QUICK, "c[2]": 3.0}
    thinning.write_seconds(measured, path)
    assert thinning.read_seconds(path) == {"a": pytest.approx(3 * QUICK, abs=0.001), "c[2]": 3.0}
    thinning.write_seconds({"a[1]": QUICK, "c[3]": QUICK, "d": 7.0}, path)
    assert thinning.read_seconds(path) == {"c[2]": 3.0, "d": 7.0}


def test_functions_that_the_table_lacks_are_named_with_their_seconds():
    measured = {"a[1]": QUICK, "a[2]": 5 * QUICK, "b": QUICK / 2, "c[1]": 3.0, "c[2]": 1.0}
    measured |= {"d": 2.0, "tests/repository/test_it.py::test_it": 9.0}
    missing = thinning.missing_functions(measured, {"d": 2.0, "c[2]": 1.0})
    assert missing == {"a": pytest.approx(6 * QUICK)}


def is_in_namespace(file, function):
    """Return whether a module has a function that its text does not name, as sg.special has."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return file.startswith("staticgrad/") and hasattr(import_module(module), function)


def test_the_table_of_seconds_lists_tests_that_exist():
    table = thinning.read_seconds()
    assert len(table) > 100
    texts = {}
    for name in table:
        file, _, test = thinning.function_of(name).partition("::")
        text = texts.setdefault(file, (ROOT / file).read_text("utf-8"))
        test = test.rpartition("::")[2].rpartition(".")[2]
        exists = re.search(rf"\b{test}\b", text) or is_in_namespace(file, test)
        assert exists, f"no {name}: write the table again"


# -- the digest of a commit ------------------------------------------------------------------------


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def commit(folder, text):
    (folder / "file").write_text(text)
    git(folder, "add", "file")
    git(folder, "commit", "-m", text)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where a hook runs the tests
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    commit(folder, "first")
    commit(folder, "second")
    return folder


def test_everyone_computes_the_same_digest(repository, tmp_path):
    digest = digest_of_commit(repository)
    assert re.fullmatch("[0-9a-f]{40,64}", digest)
    (repository / "file").write_text("not committed")
    assert digest_of_commit(repository) == digest
    git(tmp_path, "clone", "--depth=1", f"file://{repository}", "shallow")
    assert digest_of_commit(tmp_path / "shallow") == digest
    git(repository, "worktree", "add", "--detach", str(tmp_path / "beside"))
    assert digest_of_commit(tmp_path / "beside") == digest
    commit(repository, "third")
    assert digest_of_commit(repository) != digest


@pytest.mark.parametrize("path", ["an archive", "no git"])
def test_without_git_the_digest_is_fixed(tmp_path, monkeypatch, path):
    if path == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert digest_of_commit(tmp_path) == "archive"


# -- quick and nightly runs ------------------------------------------------------------------------


def quick_selection():
    """Return the ``-m`` expression of ``python -m pytest``, and so of ``.ci/run``."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    (selection,) = [word[2:].strip() for word in options["addopts"] if word.startswith("-m")]
    tests = re.search(r'^stage "tests" .*?[^\\]$', (ROOT / ".ci/run").read_text(), re.M | re.S)[0]
    assert "python -m pytest" in tests
    assert not re.search(r"python -m pytest.* (-m|--commit)", tests, re.S)
    return selection


def nightly_selection():
    """Return the ``-m`` expression of the first command of ``.ci/nightly``."""
    line = re.search("^python -m pytest .*$", (ROOT / ".ci/nightly").read_text(), re.M)[0]
    assert "--commit" not in line
    return re.search('-m "([^"]+)"', line)[1]


def collect(selection, *paths):
    command = [sys.executable, "-m", "pytest", "-n0", "--collect-only", "-q", "-m", selection]
    answer = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return [line for line in answer.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize(
    "paths",
    [
        ["tests/storage", "tests/planning", "tests/runtime/test_workers.py"],
        pytest.param([], marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_quick_and_nightly_runs_of_a_commit_are_all_cases_once(paths):
    quick = collect(quick_selection(), *paths)
    nightly = collect(nightly_selection(), *paths)
    every = collect("", *paths)
    assert quick
    assert nightly
    assert sorted(quick + nightly) == sorted(every)
