"""Code that others could have written is not run: folders, ancestors, links, special files."""

import os
import stat
import subprocess
import sys
import warnings

import pytest

from staticgrad.errors import KernelCacheWarning
from staticgrad.native import cache
from staticgrad.native.cache import private_folder
from staticgrad.native.jit import ObjectCode

CODE = ObjectCode(b"\x7fELF and so on", "symbol")
STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A cache folder with the entry ``planted``, and a process that has not warned yet."""
    cache.environment()  # once in a process it leaves a note of its own in the folder
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path / "cache"))
    cache._warned.clear()
    assert cache.write("planted", CODE)
    assert cache.read("planted") == CODE
    cache._prepare_folder.cache_clear()
    yield tmp_path / "cache"
    cache._prepare_folder.cache_clear()
    cache._warned.clear()


def modes(base):
    return {path: path.lstat().st_mode for path in (base, base / "kernels")}


def check_refusal(reason):
    """Nothing is read, one warning says why; asking again is quiet."""
    with pytest.warns(KernelCacheWarning, match=reason) as seen:
        assert cache.read("planted") is None
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.read("planted") is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o2775, 0o1777])
def test_a_folder_that_others_can_write_is_refused_and_left_alone(base, mode):
    (base / "kernels").chmod(mode)
    modes_before = modes(base)
    check_refusal(f"others may write in .*kernels .mode {mode:04o}")
    assert not cache.write("another", CODE)
    assert cache.clear() == cache.prune() == 0
    assert cache.info().entries == 0
    assert "others may write" in cache.info().refusal
    assert modes(base) == modes_before
    assert len(list((base / "kernels").iterdir())) == 1


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o700])
def test_a_folder_that_others_can_read_is_taken(base, mode):
    (base / "kernels").chmod(mode)
    assert cache.read("planted") == CODE


@as_root
def test_a_folder_of_another_user_is_refused(base):
    os.chown(base / "kernels", STRANGER, STRANGER)
    check_refusal("kernels belongs to another user")


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o703])
def test_a_folder_that_others_can_rename_is_refused(base, mode):
    base.chmod(mode)
    check_refusal("others may rename what is in .*cache")


@as_root
def test_a_group_of_others_can_rename_and_ones_own_cannot(base):
    os.chown(base, 0, STRANGER)
    base.chmod(0o770)
    check_refusal("others may rename what is in .*cache")
    os.chown(base, 0, os.getegid())
    cache._prepare_folder.cache_clear()
    assert cache.read("planted") == CODE


def test_others_may_not_rename_in_a_sticky_folder(base):
    base.chmod(0o1777)
    assert cache.read("planted") == CODE


@as_root
def test_an_ancestor_of_another_user_is_refused(base):
    os.chown(base, STRANGER, STRANGER)
    check_refusal("cache belongs to another user")


@as_root
def test_a_link_of_another_user_is_not_followed(base, tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(base)
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(link))
    assert cache.read("planted") == CODE
    cache._prepare_folder.cache_clear()
    os.lchown(link, STRANGER, STRANGER)
    check_refusal("link belongs to another user")


def test_new_folders_are_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        actual = private_folder(tmp_path / "a" / "b")
    finally:
        os.umask(old)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (actual, actual.parent)] == [0o700, 0o700]


def long_file(path):
    path.write_bytes(b"")
    os.truncate(path, cache.LARGEST_ENTRY + 1)  # without blocks on disk


def move_away(path):
    return path.rename(path.with_name("moved"))


BAD_ENTRIES = {
    "link": (lambda path: path.symlink_to(move_away(path)), "is a link"),
    "dangling": (lambda path: (move_away(path), path.symlink_to("nowhere")), "is a link"),
    "hard link": (lambda path: os.link(path, path.with_name("other")), "has a second name"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is not a regular file"),
    "device": (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "is a link"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
    "group": (lambda path: path.chmod(0o660), "may be written by others"),
    "world": (lambda path: path.chmod(0o606), "may be written by others"),
    "long": (long_file, "no kernel has more"),
}
if os.geteuid() == 0:
    BAD_ENTRIES["stranger"] = (
        lambda path: os.chown(path, STRANGER, STRANGER),
        "belongs to another user",
    )


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_an_entry_that_is_not_ones_own_file_is_refused(base, kind):
    spoil, reason = BAD_ENTRIES[kind]
    path = cache.path_of(base / "kernels", "planted")
    spoil(path)
    check_refusal(reason)
    if kind != "folder":  # a write replaces what stands there, and follows no link
        assert cache.write("planted", CODE)
        assert cache.read("planted") == CODE


PROGRAM = """
import os, warnings
import numpy as np
import staticgrad as sg
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    x = sg.input("x", ("n",))
    for k in range(2):
        f = sg.compile(sg.tanh(x) + float(k))
        assert f.run({"x": np.zeros(3, "float32")}).tolist() == [k] * 3
        assert (f.stats.compiles, f.stats.disk_hits) == (1, 0)
for each in seen:
    print(each.category.__name__, each.lineno)
"""


@pytest.mark.slow
def test_a_program_runs_without_the_cache_and_warns_once(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "STATICGRAD_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "KernelCacheWarning 9\n"
    assert list(folder.iterdir()) == []
