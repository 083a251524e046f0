"""One kernel cache, one set of seeds and one hypothesis profile for the whole run."""

import gc
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from _pytest.doctest import DoctestModule
from hypothesis import HealthCheck, Phase, settings

from passes.remat import search
from staticgrad.compiler.compiling import scheduling
from staticgrad.language.ir.discovery import load_ops
from staticgrad.native import machine
from tests.helpers import thinning
from tests.helpers.commits import digest_of_commit

_PREFIX = "STATICGRAD_"
_OWN_CACHE = pytest.StashKey[str]()
#: Case -> seconds of processor time.
_seconds = {}

settings.register_profile(
    "staticgrad",
    deadline=None,  # the first example may compile a kernel
    max_examples=14 if os.environ.get("CI") else 32,  # there each run tries the same ones
    derandomize=bool(os.environ.get("CI")),
    # A planted mistake is found by its first example; to look for the smallest takes minutes.
    phases=[Phase.explicit, Phase.generate] if os.environ.get("MUTANTS") else [*Phase],
    suppress_health_check=[HealthCheck.too_slow],
)


def pytest_addoption(parser):
    parser.addoption("--backend", help="who compiles kernels where a test does not say it")
    parser.addoption(
        "--kernels", help="folder of compiled kernels that several runs share (default: a new one)"
    )
    parser.addoption(
        "--commit",
        help="chooses the quick cases of thinned families (default: HEAD's tree)",
    )
    parser.addoption(
        "--write-seconds", action="store_true", help="write how long tests take: tests/seconds.txt"
    )


def pytest_configure(config):
    settings.load_profile("staticgrad")
    load_ops()  # registries are whole, whichever tests are asked for and whatever ran before
    machine._assumed.append(machine.Machine())  # kernels of tests are made for its caches
    # A worker holds a million objects of collected tests: walking them was a tenth of the run.
    gc.set_threshold(20_000, 50, 50)
    if hasattr(config, "workerinput"):  # a worker of xdist: it inherits the environment made below
        config.option.commit = config.workerinput["commit"]
        return
    for variable in [name for name in os.environ if name.startswith(_PREFIX)]:
        del os.environ[variable]
    config.option.commit = config.option.commit or digest_of_commit(config.rootpath)
    if config.getoption("--backend"):
        os.environ[f"{_PREFIX}BACKEND"] = config.getoption("--backend")
    # The tests start many a Python; without bytecode each would compile the whole package.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = config.getoption("--kernels")
    if folder is None:
        folder = config.stash[_OWN_CACHE] = tempfile.mkdtemp(prefix="staticgrad-tests-")
    os.environ[f"{_PREFIX}CACHE_DIR"] = str(Path(folder).resolve())
    os.environ[f"{_PREFIX}VERIFY"] = "1"  # every plan of every test has its accesses proved
    os.environ[f"{_PREFIX}TIER"] = "full"  # kernels are compiled once; test_tiers.py has the others


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Give a worker of xdist the commit of the run, also if another one is checked out by then."""
    node.workerinput["commit"] = node.config.option.commit


def pytest_report_header(config):
    return f"cases of thinned families: --commit {config.option.commit}"


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Tests have no examples in their docstrings: to look for some is a third of collecting."""
    collectors = yield
    return [collector for collector in collectors if not isinstance(collector, DoctestModule)]


@pytest.hookimpl(tryfirst=True)  # before ``-m`` selects
def pytest_collection_modifyitems(config, items):
    """Mark some cases of ``thinned`` families and of long tests as slow, by the commit.

    Not where the command line names a test: ``python -m pytest tests/ops/test_nn.py::test_it``.
    """
    if any("::" in argument for argument in config.args):
        return
    for item in thinning.slow_cases(items, config.option.commit, thinning.read_seconds()):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Measure the processor time of a test and of the processes that it starts."""
    begin = sum(os.times()[:4])
    try:
        return (yield)
    finally:
        if not thinning.has_budget(item):
            item.user_properties.append(("seconds", sum(os.times()[:4]) - begin))


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        _seconds.update(
            (report.nodeid, s) for name, s in report.user_properties if name == "seconds"
        )


def pytest_sessionfinish(session):
    if session.config.option.write_seconds and not hasattr(session.config, "workerinput"):
        thinning.write_seconds(_seconds)


def pytest_terminal_summary(terminalreporter):
    """Print the functions that the table lacks: all of their cases ran, however long they take."""
    missing = thinning.missing_functions(_seconds, thinning.read_seconds())
    if total := sum(missing.values()):
        names = sorted(missing, key=missing.__getitem__, reverse=True)[:5]
        longest = ", ".join(f"{name} {missing[name]:.1f} s" for name in names)
        terminalreporter.write_line(
            f"tests/seconds.txt lacks {len(missing)} functions, {total:.0f} s of processor time: "
            f"{longest}. --write-seconds adds them"
        )


def pytest_collection_finish():
    """A worker holds a million objects of collected tests: none of them is garbage."""
    gc.freeze()


def pytest_unconfigure(config):
    gc.collect()
    gc.freeze()  # pytest collects five times more, for what finalizers raise; once finds it
    folder = config.stash.get(_OWN_CACHE, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _short_searches():
    """Budgets are planned with a part of the effort: what must hold of plans does not depend on
    it, and hundreds of tests plan one."""
    evaluations, most, least = search.EFFORT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "EFFORT", (evaluations // 20, most, least))
        yield


@pytest.fixture(autouse=True)
def _fixed_seeds(request):
    """Seed what a test draws, so that tests that ran before it in its process do not matter."""
    random.seed(0)
    np.random.seed(0)  # for code under test that uses the global state
    for value in vars(request.module).values() if hasattr(request, "module") else ():
        if isinstance(value, np.random.Generator):
            drawn = np.random.default_rng(crc32(request.node.nodeid.encode()))
            value.bit_generator.state = drawn.bit_generator.state


@pytest.fixture(autouse=True)
def _schedules_of_patched_code(request):
    """A test that patches code makes its schedules anew: one on disk would hide the patch."""
    if "monkeypatch" in request.fixturenames:
        request.getfixturevalue("monkeypatch").setattr(scheduling, "_sources", lambda: None)


@pytest.fixture
def interrupts():
    """SIGINT raises KeyboardInterrupt, here and in children, also where the parent ignores it, as
    ``nohup`` and background jobs do."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def collected_apart():
    """Collections inside of the test walk what it makes, not what other tests left."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng():
    """Random numbers that are the same in every run and on every worker."""
    return np.random.default_rng(20240229)
