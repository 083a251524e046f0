"""Quick code first, full code as soon as it is there: equal results, stored, tested, forked."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native import cache, jit, loader, tiers
from staticgrad.native.source import SourceText
from staticgrad.native.system import workers
from staticgrad.support import config
from tests.helpers.processes import python
from tests.native.support import call
from tests.native.test_shared import source


@pytest.fixture
def in_tiers(tmp_path, monkeypatch):
    """Settings under which new kernels get quick code, and nothing is on disk."""
    monkeypatch.setattr(tiers, "DELAY", 60.0)  # the background begins when somebody waits for it
    with sg.options(tier="auto", cache_dir=str(tmp_path)):
        yield
        tiers.wait()


def prepare_codes(*constants):
    """The code of kernels that share a function, in the order of their constants."""
    codes = native.begin([source(constant) for constant in constants])()
    return [codes[source(constant)] for constant in constants]


def ran(code, constant):
    """The bytes that a kernel computes, beside NumPy's."""
    x = np.linspace(-3, 3, 64, dtype="f4")
    call(source(constant), [x], [], 0, 64)
    y = np.linspace(-3, 3, 64, dtype="f4") + np.float32(constant)
    np.testing.assert_allclose(x, (y + y) * y + 1, rtol=1e-5)
    return x.tobytes()


def test_full_code_takes_the_place_of_quick_code(in_tiers):
    first, second = prepare_codes(17.25, 17.5)
    assert tiers.is_waiting()
    name = f"{loader.host().key}|{first.symbol}"
    quick = loader._quick[name]
    assert loader._functions[name][0] == first.address
    quick_address = quick._words[first.symbol].value
    assert quick_address == loader.address(quick.name(first.symbol), loader.host())
    bits = ran(first, 17.25), ran(second, 17.5)
    tiers.wait()
    assert not tiers.is_waiting()
    assert name not in loader._quick
    full = loader._functions[name][0]
    assert full not in (quick_address, first.address)
    assert quick._words[first.symbol].value == full
    assert (ran(first, 17.25), ran(second, 17.5)) == bits
    key = cache.key(f"vector\0{source(17.25)}", loader.host())
    stored = cache.read(key, config.current())
    if stored.elf.startswith(loader._NAMES):
        stored = loader._of_bundle(stored, config.current())
    assert b"quick" not in stored.elf


def test_batches_begun_at_once_have_full_code_in_the_end(in_tiers):
    """Modules that have some kernels in common: each kernel has one address."""
    constants = (16.25, 16.5, 16.75)
    ends = [native.begin([source(constant) for constant in constants[k : k + 2]]) for k in (0, 1)]
    batches = [{text: code.address for text, code in end().items()} for end in ends]
    assert {source(constant) for constant in constants} == batches[0].keys() | batches[1].keys()
    assert batches[0][source(16.5)] == batches[1][source(16.5)]
    tiers.wait()
    symbols = [jit.symbol_of(source(constant)) for constant in constants]
    assert all(loader.has_full_code(symbol, loader.host()) for symbol in symbols)
    for constant in constants:
        ran(None, constant)


def test_functions_shared_by_kernels_of_long_runs_have_full_code_at_once(in_tiers):
    texts = [source(constant).replace("twice(v) * v", "v * twice(v)") for constant in (17.75, 18.0)]
    code_of = native.begin(texts, is_long=lambda: True)()
    host = loader.host()
    (module,) = jit.llvm_modules(SourceText(texts[0]), host).shared
    assert loader.is_loaded(module, host)
    assert cache.read(cache.key(module, host), config.current()) is not None
    codes = [code_of[text] for text in texts]
    assert {f"{host.key}|{code.symbol}" for code in codes} <= loader._quick.keys()

    def ran_with(text):
        x = np.linspace(-3, 3, 64, dtype="f4")
        call(text, [x], [], 0, 64)
        return x.tobytes()

    outputs = [*map(ran_with, texts)]
    tiers.wait()
    assert [*map(ran_with, texts)] == outputs == [ran(None, constant) for constant in (17.75, 18.0)]


def test_the_background_begins_when_a_first_run_has_ended(in_tiers):
    x = sg.input("x", (9,), "float32")
    f = sg.compile(sg.Graph({"y": sg.tanh(x * 17.125) - 0.375}))
    assert tiers.is_waiting()
    f.run({"x": np.ones(9, "f4")})
    until = time.monotonic() + tiers.DELAY / 2
    while tiers.is_waiting() and time.monotonic() < until:
        time.sleep(0.01)
    assert not tiers.is_waiting()


def test_quick_code_that_llvm_refuses_is_left_for_full_code(in_tiers, monkeypatch):
    monkeypatch.setattr(tiers.Quick, "text", lambda self, modules: "nonsense")
    codes = prepare_codes(18.25, 18.5)
    assert not tiers.is_waiting()
    assert all(code.symbol not in str(loader._quick) for code in codes)
    ran(codes[0], 18.25)


def test_full_code_that_fails_the_self_test_is_not_used(in_tiers, monkeypatch):
    host = loader.host()
    asked = []

    def fail_self_test(target, levels=loader.LEVELS):
        asked.append(tuple(levels))
        return False

    monkeypatch.setattr(loader, "is_sound", fail_self_test)
    monkeypatch.setitem(loader._untested, host.key, ((host,), (host,)))
    codes = prepare_codes(19.25, 19.5)
    tiers.wait()
    assert asked == [loader.FULL_LEVELS]
    name = f"{host.key}|{codes[0].symbol}"
    assert name in loader._quick, "quick code stays"
    ran(codes[0], 19.25)
    with pytest.raises(CompileError, match="fails the self-test"):
        loader.test_full(host)


def test_quick_code_is_tested_first_and_full_code_before_its_verdict_is_stored(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(loader, "_untested", {})
    asked = []
    monkeypatch.setattr(
        loader, "is_sound", lambda target, levels=loader.LEVELS: asked.append(tuple(levels)) or True
    )
    ladder = loader.targets.ladder()
    assert loader.first_sound(ladder, quick=True) is ladder[0]
    assert cache.recall(loader._memory_name(ladder)) is None
    loader.test_full(ladder[0])
    assert asked == [(tiers.LEVEL,), loader.FULL_LEVELS]
    assert cache.recall(loader._memory_name(ladder)) == "0"
    loader.test_full(ladder[0])
    assert len(asked) == 2, "tested once"


def test_a_fork_waits_for_full_code(in_tiers):
    names = {f"{loader.host().key}|{code.symbol}" for code in prepare_codes(20.25, 20.5)}
    assert tiers.is_waiting()
    child = os.fork()
    if child == 0:
        os._exit(int(tiers.is_waiting() or bool(names & {*loader._quick})))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not tiers.is_waiting()


@pytest.mark.skipif(not workers.are_possible(), reason="needs workers")
@pytest.mark.parametrize("tier", ["auto", "full"])
def test_tables_run_alone_until_the_pool_has_code(tier, tmp_path):
    env = {"STATICGRAD_TIER": tier, "STATICGRAD_CACHE_DIR": str(tmp_path)}
    first, second = python("-m", "tests.native.pool_later", env=env).stdout.splitlines()
    assert (first.split()[0], second) == (str(tier == "auto"), "True True")
    if tier == "auto":
        first, _ = python("-m", "tests.native.pool_later", env=env).stdout.splitlines()
        assert first.split()[0] == "False", "its code is on disk"


ROUTINES = """
import numpy as np
import staticgrad as sg
from staticgrad.language.ir.schedule import routines
from staticgrad.native import loader
from staticgrad.native.libraries.routines import code

a = sg.input("a", (3, 3), "float64")
f = sg.compile(sg.Graph({"root": sg.linalg.cholesky(a)}))
quick = {loader._functions[name][0] for name in loader._quick}
print(*(code(each.name).address in quick for each in routines(f.schedule)))
feeds = {"a": np.array([[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]])}
first = f.run(feeds)["root"]
np.testing.assert_allclose(first, np.linalg.cholesky(feeds["a"]), rtol=1e-14)
f.wait()
print(first.tobytes() == f.run(feeds)["root"].tobytes())
"""


def test_routines_of_libraries_have_quick_code_too(tmp_path):
    env = {"STATICGRAD_TIER": "auto", "STATICGRAD_CACHE_DIR": str(tmp_path)}
    assert python("-c", ROUTINES, env=env).stdout.split() == ["True", "True"]


def test_settings_of_the_tier():
    with pytest.raises(sg.errors.ConfigError, match="auto, full"):
        sg.options(tier="quick").__enter__()


PROGRAM = """
import numpy as np
import staticgrad as sg
from staticgrad import native

x = sg.input("x", ("n", 8), "float32")
w = sg.parameter("w", np.linspace(-1, 1, 64, dtype="float32").reshape(8, 8))
loss = sg.mean(sg.log(1.0 + sg.nn.softmax(sg.tanh(x @ w) @ w, axis=1)) ** 2)
f = sg.compile(sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)}))
feeds = {"x": np.linspace(0, 1, 1000, dtype="float32").reshape(125, 8)}
losses = [f.run(feeds)["loss"].tobytes().hex() for _ in range(3)]
f.wait()
losses += [f.run(feeds)["loss"].tobytes().hex() for _ in range(3)]
compiled = native.statistics().compiled
print(*losses, w.value.tobytes().hex(), compiled if compiled < 2 else "some")
"""


@pytest.mark.slow
def test_a_step_has_the_bits_of_full_code_and_is_found_on_disk(tmp_path):
    def run_program(tier, folder):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={
                "STATICGRAD_CACHE_DIR": str(tmp_path / folder),
                "STATICGRAD_TIER": tier,
                "PYTHONPATH": str(Path.cwd()),
                "HOME": "/none",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        ).stdout.split()

    *first, count = run_program("auto", "a")
    assert count == "some"
    *again, count = run_program("auto", "a")
    assert count == "0"
    *full, _ = run_program("full", "b")
    assert first == again == full
