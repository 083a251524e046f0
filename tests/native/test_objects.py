"""Objects placed in memory: what they compute is what LLVM's loader gives, others are refused."""

import ctypes
import os
import platform
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from staticgrad.errors import CompileError
from staticgrad.native import identity, jit, loader, objects, target
from staticgrad.native.target import Target
from tests.helpers.processes import python

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="objects of x86-64"
)

#: A call of a library and of itself, constants, a table of addresses, and data that it changes.
TEXT = """
@values = internal constant [4 x double] [double 1.5, double -2.25, double 3.0, double 0.125]
@parts = internal constant [2 x ptr] [ptr @doubled{number}, ptr @squared{number}]
@calls = internal global i64 0
@first = internal global i64 40
declare double @sin(double)
define double @doubled{number}(double %x) #0 {{
  %y = fmul double %x, 2.0
  ret double %y
}}
define double @squared{number}(double %x) #0 {{
  %y = fmul double %x, %x
  ret double %y
}}
define double @sg_parts{number}(double %x, i64 %k) #0 {{
  %part = getelementptr [2 x ptr], ptr @parts, i64 0, i64 %k
  %function = load ptr, ptr %part
  %y = call double %function(double %x)
  %at = getelementptr [4 x double], ptr @values, i64 0, i64 %k
  %value = load double, ptr %at
  %s = call double @sin(double %y)
  %calls = load i64, ptr @calls
  %more = add i64 %calls, 1
  store i64 %more, ptr @calls
  %first = load i64, ptr @first
  %sum = add i64 %more, %first
  %number = sitofp i64 %sum to double
  %a = fadd double %s, %value
  %b = fadd double %a, %number
  ret double %b
}}
"""


def compile_parts(number):
    symbol = f"sg_parts{number}"
    return jit.compile_ir(TEXT.format(number=number), symbol, loader.host()).elf, symbol


def results(address):
    call = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)(address)
    return [call(x, k) for x in (0.5, -3.0) for k in (0, 1)]


def expected_results():
    rows = [(x, k) for x in (0.5, -3.0) for k in (0, 1)]
    parts = [np.sin(2 * x if k == 0 else x * x) + (1.5, -2.25)[k] for x, k in rows]
    return [part + 41 + n for n, part in enumerate(parts)]


@pytest.mark.parametrize("ours", [True, False])
def test_both_loaders_give_the_same(ours, monkeypatch):
    elf, symbol = compile_parts(1 + ours)
    monkeypatch.setattr(Target, "is_x86", ours)
    np.testing.assert_allclose(
        results(loader.load(elf, symbol, loader.host())), expected_results(), 1e-15
    )


def test_pages_with_code_are_not_writable():
    elf, symbol = compile_parts(3)
    address = loader.load(elf, symbol, loader.host())
    results(address)
    modes = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
        if int(start, 16) <= address < int(end, 16):
            modes[address] = mode
    assert modes == {address: "r-xp"}


def test_functions_of_other_objects_are_called():
    host = loader.host()
    callee = "define double @sg_callee(double %x) #0 {\n  ret double 4.5\n}\n"
    caller = (
        "declare double @sg_callee(double)\ndefine double @sg_caller(double %x) #0 {\n"
        "  %y = call double @sg_callee(double %x)\n  ret double %y\n}\n"
    )
    first = jit.compile_ir(caller, "sg_caller", host).elf
    with pytest.raises(CompileError, match="sg_callee, which nobody defines"):
        loader.load(first, "sg_caller", host)
    loader.load(jit.compile_ir(callee, "sg_callee", host).elf, "sg_callee", host)
    address = loader.load(first, "sg_caller", host)
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(address)(0.0) == 4.5


@pytest.mark.parametrize("far", [0, 1 << 41, 1 << 45])
def test_functions_at_any_distance_are_called(far):
    """Behind large arrays new pages are far from those of earlier functions."""
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    private, readable_writable_executable = 0x22, 7
    address = library.mmap(far, 4096, readable_writable_executable, private, -1, 0)
    double_it = b"\xf2\x0f\x58\xc0\xc3"  # addsd xmm0, xmm0; ret
    ctypes.memmove(address, double_it, len(double_it))
    text = (
        "declare double @sg_far(double)\ndefine double @sg_near(double %x) #0 {\n"
        "  %a = call double @sg_far(double %x)\n  %b = call double @sg_far(double %a)\n"
        "  %c = fadd double %b, 1.0\n  ret double %c\n}\n"
    )
    elf = jit.compile_ir(text, "sg_near", loader.host()).elf
    loaded = objects.load_object(elf, {"sg_far": address}.__getitem__)
    near = loaded.functions["sg_near"]
    assert far == 0 or abs(near - address) > 1 << 31
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(near)(1.5) == 7.0


def write_field(elf, at, form, value):
    content = bytearray(elf)
    struct.pack_into(form, content, at, value)
    return bytes(content)


def test_other_objects_are_refused():
    elf, _ = compile_parts(4)

    def load(content):
        return objects.load_object(content, lambda name: 0)

    with pytest.raises(CompileError, match="another processor"):
        load(write_field(elf, 18, "<H", 183))
    with pytest.raises(CompileError, match="too far away"):  # sin at 0 by a distance
        load(change_relocation(elf, 2))
    with pytest.raises(CompileError, match="relocation of kind 77"):
        load(change_relocation(elf, 77))
    for length in (0, 10, 70, len(elf) - 100):
        with pytest.raises(ValueError, match="ELF"):
            load(elf[:length])


def change_relocation(elf, kind):
    """The object with another kind of relocation where ``sin`` is called."""
    sections, names = objects._parse_elf(elf)
    (number,) = (n for n, symbol in enumerate(names) if symbol.name == "sin")
    for section in sections:
        for at in range(section.offset, section.offset + section.size, 24):
            if section.kind == 4 and struct.unpack_from("<Q", elf, at + 8)[0] >> 32 == number:
                return write_field(elf, at + 8, "<I", kind)
    raise AssertionError


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="one processor at a time")
def test_every_core_describes_the_same_processor():
    cores = os.sched_getaffinity(0)
    try:
        actual = set()
        for core in cores:
            os.sched_setaffinity(0, {core})
            actual.add(identity.processor.__wrapped__())
    finally:
        os.sched_setaffinity(0, cores)
    assert len(actual) == 1
    assert len(actual.pop()) >= 64


def test_targets_are_stored_for_a_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path))
    ladder = target.ladder()
    assert [*map(target.read, map(target.format_target, ladder))] == [*ladder]
    other_ladder = (ladder[0].__class__("t", "c", "+a,-b", 128, 1),)
    asked = []
    monkeypatch.setattr(target, "ladder", lambda: asked.append(1) or other_ladder)
    assert loader._ladder() == loader._ladder() == other_ladder
    assert len(asked) == 1
    monkeypatch.setattr(identity, "processor", lambda: b"another one")
    assert loader._ladder() == other_ladder
    monkeypatch.setattr(identity, "processor", lambda: None)
    assert loader._ladder() == other_ladder
    assert len(asked) == 3


WARM = """
import sys
import numpy as np
import staticgrad as sg
x = sg.input("x", ("n",), "float32")
f = sg.compile(sg.Graph({"y": (sg.exp(x) * 2).sum()}))
print(f.run({"x": np.zeros(3, "float32")})["y"], "llvmlite" in sys.modules)
"""


def test_a_program_from_disk_runs_without_llvm(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(WARM)
    env = {"STATICGRAD_CACHE_DIR": str(tmp_path)}
    texts = [python(script, env=env).stdout.split() for _ in range(2)]
    assert texts == [["6.0", "True"], ["6.0", "False"]]
