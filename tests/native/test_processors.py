"""Limits of the number of threads: affinity, cores, and quotas of control groups."""

import os
import subprocess
import sys

import pytest

from staticgrad.native.machine import Machine
from staticgrad.native.system import caches, processors

SECOND = "36 35 0:31 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = "33 32 0:28 {root} {mount} rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


def quota(folder, mounts, groups, files, root="/"):
    """The quota of a made-up machine whose control groups are mounted in a folder."""
    mount = folder / "mount"
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    (folder / "mounts").write_text(mounts.format(mount=mount, root=root))
    (folder / "groups").write_text(groups)
    return processors.quota(folder / "groups", folder / "mounts")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3.0),
        ({"a/b/cpu.max": "800000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/b/cpu.max": "what?"}, None),
        ({"c/cpu.max": "100000 100000\n"}, None),
        ({}, None),
    ],
)
def test_quotas_of_the_second_version(tmp_path, files, expected):
    assert quota(tmp_path, SECOND, "0::/a/b\n", files) == expected


@pytest.mark.parametrize(("share", "expected"), [("250000", 2.5), ("-1", None), ("0", None)])
def test_quotas_of_the_first_version(tmp_path, share, expected):
    files = {"x/cpu.cfs_quota_us": share, "x/cpu.cfs_period_us": "100000"}
    groups = "5:memory:/other\n2:cpu,cpuacct:/x\n0::/\n"
    assert quota(tmp_path, FIRST, groups, files) == expected


def test_a_container_that_sees_its_own_group_as_root(tmp_path):
    files = {"cpu.max": "200000 100000"}
    assert quota(tmp_path, SECOND, "0::/docker/1234\n", files, root="/docker/1234") == 2.0
    assert quota(tmp_path, SECOND, "0::/\n", files, root="/docker/1234") == 2.0


def test_without_control_groups_nothing_limits(tmp_path):
    assert processors.quota(tmp_path / "none", tmp_path / "none") is None


def test_threads_of_one_core_count_once(tmp_path):
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert processors._count_cores({0, 1, 2, 3}, tmp_path) == 2
    assert processors._count_cores({0, 2}, tmp_path) == 1
    assert processors._count_cores({1, 7}, tmp_path) == 2  # nothing is known of 7


def test_caches_are_those_of_data(tmp_path):
    assert caches.read_files(tmp_path / "none") == {}
    names = ("level", "type", "size", "ways_of_associativity", "coherency_line_size")
    for number, words in enumerate(
        (
            ("1", "Instruction", "64K", "4", "32"),
            ("1", "Data", "48K", "12", "128"),
            ("2", "Unified", "2M", "16", "64"),
            ("3", "Unified", "nothing", "16", "64"),
        )
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, word in zip(names, words, strict=True):
            (folder / name).write_text(word + "\n")
    (tmp_path / "index9").mkdir()  # nothing is said there
    actual = Machine(**caches.read_files(tmp_path))
    assert (actual.l1, actual.l2, actual.ways, actual.line) == (48 << 10, 2 << 20, 12, 128)
    assert actual.l3 == Machine.l3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_affinity_is_honoured(monkeypatch):
    monkeypatch.setattr(processors, "quota", lambda groups, mounts: None)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert processors.allowed_processors() == 1
        assert processors.threads("auto") == 1
        assert processors.threads(7) == 7
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_quota_is_rounded_down_to_one_at_least(monkeypatch):
    monkeypatch.setattr(processors, "_count_cores", lambda usable, folder: 8)
    for share, expected in ((3.9, 3), (0.2, 1), (None, 8), (64.0, 8)):
        monkeypatch.setattr(processors, "quota", lambda groups, mounts, share=share: share)
        assert processors.allowed_processors() == expected


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pool sleeps by futex")


def test_caches_of_macos_are_those_of_its_fast_cores():
    numbers = {
        "hw.perflevel0.l1dcachesize": 128 << 10,
        "hw.l1dcachesize": 64 << 10,
        "hw.l2cachesize": 4 << 20,
        "hw.cachelinesize": 128,
    }
    fields = caches.read_names(lambda name: numbers.get(name, 0))
    assert fields == {"l1": 128 << 10, "l2": 4 << 20, "line": 128}
    assert Machine(**fields).l3 == Machine.l3


def test_processors_of_macos_are_physical_cores():
    numbers = {"hw.physicalcpu": 8, "hw.perflevel0.physicalcpu": 4}
    assert processors.count_named_cores(lambda name: numbers.get(name, 0)) == 8
    assert processors.count_named_cores(lambda name: 0) is None


@pytest.mark.parametrize("platform", ["win32", "emscripten"])
def test_other_systems_are_refused_when_staticgrad_is_imported(platform):
    program = f"import sys; sys.platform = {platform!r}; import staticgrad"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(
        f"ImportError: staticgrad does not run on {platform}"
    )
    assert "WSL 2" in run.stderr


def test_a_program_runs_without_workers_affinity_and_files_of_linux():
    """On macOS, for instance, they are missing."""
    program = """
import sys
import llvmlite.binding
import numpy as np
llvmlite.binding.ffi.lib.LLVMPY_AddSymbol  # its library has another name there
sys.platform = "darwin"
from staticgrad.native.system import workers
assert not workers.are_possible()
import staticgrad as sg
from staticgrad.native import machine
assert machine.current().l2 == machine.Machine.l2
x = sg.input("x", (300, 300), "float32")
f = sg.compile(sg.Graph({"y": sg.tanh(x @ x).sum()}), threads=2)
array = np.linspace(-1, 1, 90_000, dtype=np.float32).reshape(300, 300)
expected = np.tanh(array.astype("f8") @ array).sum()
assert abs(f.run({"x": array})["y"] - expected) < 1e-3 * abs(expected) + 1
print("ran")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "ran\n", run.stderr
