"""A library for C beside its runs: the table of arrays, files, errors, wrappers."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import staticgrad as sg
from staticgrad import errors
from tests.exporting.libraries import built, module_of

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
RNG = np.random.default_rng(7)
DTYPES = [
    *("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
]


def values_of(dtype, shape):
    numbers = RNG.integers(0, 2 if dtype == "bool" else 100, shape)
    return numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """A program with parameters of all element types, with odd names and shapes."""
    folder = tmp_path_factory.mktemp("every")
    params = [sg.parameter(f"p.{dtype}", values_of(dtype, (2, 3))) for dtype in DTYPES]
    params += [
        sg.parameter('a "quoted" \\ name\twith é and 🙂', values_of("float32", (5,))),
        sg.parameter("number", 2.5),
        sg.parameter("nothing", np.zeros((0, 4), "float32")),
        sg.parameter("complex", np.arange(6).reshape(2, 3) * (1 + 2j)),
    ]
    x = sg.input("x", ("n", 3))
    total = sum((p.astype("float64").sum() for p in params[:-1]), x.sum().astype("float64"))
    f = sg.compile(sg.Graph({"total": total + params[-1].real.sum(), "twice": x * 2.0}))
    return f, params, module_of(f, folder), folder


def arrays_of(params):
    return {p.name: np.array(p.value) for p in params}


def assert_holds(program, params):
    for p in params:
        assert program.parameters[p.name].tobytes() == np.array(p.value).tobytes(), p.name


# -- the table ------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_array(every):
    _, params, module, _ = every
    rows = module.ARRAYS
    assert [r.name.decode() for r in rows] == ["x", *(p.name for p in params), "total", "twice"]
    assert [r.dtype.decode() for r in rows[1 : 1 + len(DTYPES)]] == DTYPES
    for row, p in zip(rows[1:-2], params, strict=True):
        value = np.array(p.value)
        if value.dtype.kind == "c":
            value = np.stack([value.real, value.imag], -1)
        assert tuple(row.shape[: row.rank]) == value.shape
        assert (row.bytes, row.itemsize) == (value.nbytes, value.itemsize)
        assert not row.updated
    x, twice = rows[0], rows[-1]
    assert (x.sizes, x.bytes, [*x.shape[: x.rank]], x.kind) == (b"n, 3", -1, [-1, 3], 0)
    assert (twice.sizes, twice.kind, twice.updated) == (b"n, 3", 3, 1)
    assert module.shape_of(0, 7) == (7, 3)
    assert module.shape_of(len(rows) - 1, 5) == (5, 3)


def test_kinds_tell_parameters_from_state(tmp_path):
    w, b = sg.parameter("w", np.ones(3, "float32")), sg.parameter("b", np.ones(3, "float32"))
    loss = ((w * sg.input("x", (3,)) + b) ** 2).sum()
    graph = sg.Graph({"loss": loss}, updates=sg.optim.Adam(0.1).updates(loss, [w]))
    module = module_of(sg.compile(graph), tmp_path)
    assert {*module.arrays("parameter")} == {"w", "b"}
    assert {*module.arrays("state")} == {"w.first_moment", "w.second_moment", "adam.step"}
    assert [a.updated for _, a in module.arrays("parameter").values()] == [1, 0]


LAYOUT = r"""
#include <stdio.h>
#include "step.h"
#define FIELD(type, field) printf(#type "." #field " %zu\n", offsetof(step_##type, field));
int main(void) {
    FIELD(array, name) FIELD(array, field) FIELD(array, dtype) FIELD(array, sizes)
    FIELD(array, shape) FIELD(array, bytes) FIELD(array, rank) FIELD(array, itemsize)
    FIELD(array, kind) FIELD(array, updated)
    printf("size %zu\n", sizeof(step_array));
    for (int n = 0; n < step_ARRAYS; n++) printf("%s\n", step_arrays[n].name);
    printf("%zu %zu %zu\n", sizeof(step_inputs), sizeof(step_params), sizeof(step_outputs));
    return step_interface() != step_INTERFACE;
}
"""


def test_rows_have_the_layout_that_the_c_compiler_gives_them(every):
    _, params, module, folder = every
    main = built(folder, LAYOUT, "./step.so")
    lines = subprocess.run([main], cwd=folder, capture_output=True, check=True, text=True).stdout
    want = [f"array.{n} {getattr(module.Array, n).offset}" for n, _ in module.Array._fields_]
    want += [f"size {ctypes.sizeof(module.Array)}", "x", *(p.name for p in params)]
    want += ["total", "twice", f"8 {8 * len(params)} 16"]
    assert lines.splitlines() == want


# -- files ----------------------------------------------------------------------------------------


def test_files_go_both_ways_to_the_bit(every, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    f, params, module, _ = every
    first, program = arrays_of(params), module.Program()
    assert_holds(program, params)
    for name, array in program.parameters.items():
        array[...] = values_of("bool" if array.dtype == bool else "int8", array.shape)
        assert name in first
    program.save(tmp_path / "c.safetensors")
    actual = safetensors.load_file(tmp_path / "c.safetensors")  # another reader of the format
    assert actual.keys() == program.parameters.keys()
    for name, array in actual.items():
        assert array.tobytes() == program.parameters[name].tobytes(), name
        assert str(array.dtype) == module.ARRAYS[[*first].index(name) + 1].dtype.decode()
    sg.load(tmp_path / "c.safetensors", into=f)
    assert_holds(program, params)
    for p in params:
        p.value = first[p.name]
    sg.save(tmp_path / "python.safetensors", f)
    program.load(tmp_path / "python.safetensors")
    assert_holds(program, params)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.safetensors", "python.safetensors"]


def test_a_file_of_another_writer_may_have_more_in_any_order(every, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    _, params, module, _ = every
    program = module.Program()
    program.save(tmp_path / "whole.safetensors")
    arrays = safetensors.load_file(tmp_path / "whole.safetensors")
    more = {"another": np.ones((2, 2)), **dict(reversed(arrays.items()))}
    safetensors.save_file(more, tmp_path / "more.safetensors", metadata={"a": 'é "\\u'})
    for array in program.parameters.values():
        array[...] = 0
    program.load(tmp_path / "more.safetensors")
    assert_holds(program, params)


def small(folder):
    """A library of two parameters, and a file of it in two parts: what it says, and its data."""
    a = sg.parameter("a", np.arange(6, dtype="float32").reshape(2, 3))
    b = sg.parameter("bé", np.arange(4))
    module = module_of(sg.compile(sg.Graph({"y": a.sum() + b.sum().astype("float32")})), folder)
    program = module.Program()
    program.save(folder / "small.safetensors")
    content = (folder / "small.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    return module, json.loads(content[8 : 8 + length]), content[8 + length :]


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    module, head, data = small(tmp_path)
    assert head["a"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}

    def wrong(**changes):
        return json.dumps({**head, "a": {**head["a"], **changes}}).encode()

    good = json.dumps(head).encode()
    entry = json.dumps(head["a"])
    second_entry = f'"b\\u00e9": {json.dumps(head["bé"])}'
    cases = {  # the header, the data: the code, and what the message says
        "cut off": (good, data[:-1], 5, "cut off"),
        "longer": (good, data + b"\0", 5, "cut off"),
        "without one": (json.dumps({"a": head["a"]}).encode(), data[:24], 6, "bé: it is not"),
        "another name": (good.replace(b'"a"', b'"A"'), data, 6, "a: it is not"),
        "another type": (wrong(dtype="I32"), data, 7, "a: it has another element type"),
        "another shape": (wrong(shape=[3, 2]), data, 8, "a: it has another shape"),
        "another rank": (wrong(shape=[6]), data, 8, "a: it has another shape"),
        "fewer bytes": (wrong(data_offsets=[0, 20]), data, 5, "cut off"),
        "backwards": (wrong(data_offsets=[24, 0]), data, 5, "cut off"),
        "beyond the end": (wrong(data_offsets=[1000, 1024]), data, 5, "cut off"),
        "negative": (wrong(data_offsets=[-24, 0]), data, 5, "cut off"),
        "huge": (good.replace(b"24", b"9" * 30), data, 5, "cut off"),
        "without a shape": (good.replace(b'"shape"', b'"shapes"'), data, 5, "cut off"),
        "twice": (f'{{"a": {entry}, "a": {entry}, {second_entry}}}'.encode(), data, 5, "cut off"),
        "behind the header": (good + b"x", data, 5, "cut off"),
        "no object": (b"[]", data, 5, "cut off"),
        "empty": (b"", data, 5, "cut off"),
        "half a surrogate": (good.replace(b'"a"', b'"\\ud83d"'), data, 5, "cut off"),
        "no escape": (good.replace(b'"a"', b'"\\x"'), data, 5, "cut off"),
    }
    program = module.Program()
    for array in program.parameters.values():
        array[...] = 7
    for case, (text, numbers, code, words) in cases.items():
        path = tmp_path / "wrong.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
        with pytest.raises(module.ProgramError, match=words) as caught:
            program.load(path)
        assert -caught.value.code % 16 == code, case
        assert all((array == 7).all() for array in program.parameters.values()), case
    for content in (b"", b"1234567", b"\xff" * 8 + good, (2**62).to_bytes(8, "little")):
        path.write_bytes(content)
        with pytest.raises(module.ProgramError, match="cut off"):
            program.load(path)
    path.write_bytes(len(good).to_bytes(8, "little") + good + data)
    program.load(path)
    assert program.parameters["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert program.parameters["bé"].tolist() == [0, 1, 2, 3]


def test_escapes_in_names_are_read(tmp_path):
    p = sg.parameter('q"\\/\b\f\n\r\té😀', np.ones(2, "float32"))
    program = module_of(sg.compile(sg.Graph({"y": p.sum()})), tmp_path).Program()
    name = '"q\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83D\\uDE00"'
    assert json.loads(name) == p.name
    text = f' {{ {name} :\n{{"shape":[ 2 ],"dtype":"F32","data_offsets":[0,8]}} }} '.encode()
    numbers = np.array([3, 4], "float32").tobytes()
    path = tmp_path / "escaped.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    program.load(path)
    assert program.parameters[p.name].tolist() == [3, 4]


def test_bools_of_other_bytes_are_read_as_true(tmp_path):
    p = sg.parameter("p", np.zeros(3, bool))
    program = module_of(
        sg.compile(sg.Graph({"y": sg.where(p, 1.0, 0.0).sum()})), tmp_path
    ).Program()
    path = tmp_path / "bools.safetensors"
    text = b'{"p":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes([0, 2, 255]))
    program.load(path)
    assert program.parameters["p"].view(np.uint8).tolist() == [0, 1, 1]
    assert program.run({})["y"] == 2


def test_the_system_refuses_a_file(tmp_path):
    module, _, _ = small(tmp_path)
    program = module.Program()
    files = sorted(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        program.load(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError):
        program.save(tmp_path / "none" / "a.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        program.save(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    assert sorted(tmp_path.iterdir()) == files


# -- errors of calls ------------------------------------------------------------------------------


def test_errors_of_a_call_say_which_array(tmp_path):
    table, w = sg.parameter("table", np.ones((11, 4), "float32")), sg.parameter("w", np.ones(4))
    x, y = sg.input("tokens", ("batch", 6), "int64"), sg.input("next", ("batch", 6), "int64")
    loss = ((sg.take(table, x, 0) - sg.take(table, y, 0) * 2.0) * w).sum().astype("float32")
    updates = {table: table - 0.1 * sg.grad(loss, table), w: w * 0.5}
    module = module_of(sg.compile(sg.Graph({"loss": loss}, updates=updates)), tmp_path)
    program, feeds = module.Program(), {n: RNG.integers(0, 11, (3, 6)) for n in ("tokens", "next")}
    program.run(feeds)
    parameters = {name: array.copy() for name, array in program.parameters.items()}
    arrays = [feeds["tokens"], feeds["next"]]
    loss = np.zeros((), "float32")
    arena = np.zeros(module._arena_bytes(3) + 128, np.uint8)
    at = arena.ctypes.data + -arena.ctypes.data % 64
    names = [row.name.decode() for row in module.ARRAYS]

    def code(inputs=arrays, without=None, arena=at, batch=3):
        groups = [inputs, [*program.parameters.values()], [loss]]
        pointers, number = [], 0
        for group in groups:
            pointers.append(module._pointers(group))
            for n in range(len(group)):
                if number == without:
                    pointers[-1][n] = None
                number += 1
        return module._run(batch, *pointers, arena, None)

    for number in (0, 1, 2, len(names) - 2, len(names) - 1):
        actual = code(without=number)
        assert (-actual % 16, -actual // 16 - 1) == (2, number)
        assert module._message(actual).decode() == f"{names[number]}: the pointer is NULL"
    for wrong in (at + 1, at + 32, None):
        assert code(arena=wrong) == -3
    assert "multiple of 64" in module._message(-3).decode()
    assert code(batch=-1) == -1
    assert "batch >= 0" in module._message(-1).decode()
    for unknown in (-15, -10, 999, -16 * 1000 - 2):
        assert module._message(unknown) == b"unknown result"
    bad = [feeds["tokens"].copy(), feeds["next"]]
    bad[0][2, 5] = 11
    assert b"index is out of range" in module._message(code(inputs=bad))
    for name, array in program.parameters.items():
        assert array.tobytes() == parameters[name].tobytes()
    assert code() == 0


# -- wrappers -------------------------------------------------------------------------------------


def test_a_wrapper_of_another_library_is_refused(tmp_path):
    x = sg.input("x", (3,))
    module_of(sg.compile(sg.Graph({"y": x + 1.0})), tmp_path)
    wrapper = (tmp_path / "step_ctypes.py").read_text()
    sg.compile(sg.Graph({"z": x + 1.0})).export(tmp_path / "step.so")
    (tmp_path / "step_ctypes.py").write_text(wrapper)
    command = [sys.executable, "-c", "import step_ctypes"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "ImportError" in ran.stderr
    assert "export both again" in ran.stderr


def test_the_module_for_python_needs_no_staticgrad(tmp_path):
    w = sg.parameter("w", np.ones(3, "float32"))
    x = sg.input("x", ("n", 3))
    f = sg.compile(sg.Graph({"y": x @ w}, updates={w: w * 2.0}))
    f.export(tmp_path / "step.so", wrappers="python")
    (tmp_path / "main.py").write_text(
        "import sys, numpy, step_ctypes\n"
        "program = step_ctypes.Program()\n"
        "for _ in range(2): y = program.run({'x': numpy.ones((2, 3))})['y']\n"
        "assert 'staticgrad' not in sys.modules\n"
        "print(y.tolist(), program.parameters['w'].tolist())\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.stdout == "[6.0, 6.0] [4.0, 4.0, 4.0]\n", ran.stderr


def test_the_module_for_python_refuses_feeds_that_do_not_fit(every):
    _, _, module, _ = every
    program = module.Program()
    for feeds, kind, text in (
        ({}, ValueError, "inputs"),
        ({"x": np.ones((2, 4))}, ValueError, r"\(2, 4\), the input \(2, 3\)"),
        ({"x": np.ones((2, 3, 1))}, ValueError, "shape"),
        ({"x": np.ones((2, 3), complex)}, TypeError, "complex128, the input float32"),
    ):
        with pytest.raises(kind, match=text):
            program.run(feeds)


RUST = r"""
#[path = "step.rs"]
mod step;
fn main() -> Result<(), step::Error> {
    let mut p = step::Program::new();
    let x: Vec<f32> = (0..6).map(|n| n as f32).collect();
    println!("{:?}", p.run(2, &x, &[true as u8, 0])?.y);
    println!("{:?}", p.run(2, &x, &[0, 1])?.y);
    println!("{}", p.run(3, &x, &[0, 1]).unwrap_err());
    println!("{}", p.run(-1, &x, &[0, 1]).unwrap_err());
    println!("{}", p.load("none").unwrap_err());
    println!("{:?}", step::arrays());
    p.save("rust.safetensors")?;
    p.load("rust.safetensors")
}
"""


def write_wrappers(folder, wrappers):
    w = sg.parameter("w", np.array([1.0, 2.0, 3.0], "float32"))
    x, chosen = sg.input("x", ("rows", 3)), sg.input("type", ("rows",), "bool")
    y = sg.where(chosen, x @ w, 0.5)
    f = sg.compile(sg.Graph({"y": y}, updates={w: w + 1.0}))
    f.export(folder / "step.so", wrappers=wrappers)
    return f, w


@pytest.mark.skipif(shutil.which("rustc") is None, reason="there is no Rust compiler")
def test_a_program_in_rust_trains(tmp_path):
    f, w = write_wrappers(tmp_path, ["rust"])
    (tmp_path / "main.rs").write_text(RUST)
    command = ["rustc", "-D", "warnings", "main.rs", "-C", "link-arg=./step.so", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    ran = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "[8.0, 0.5]",  # 0 + 2 + 6
        "[0.5, 38.0]",  # 3 * 2 + 4 * 3 + 5 * 4
        "x: it has another shape",
        "there is no plan for these sizes: rows >= 0; rows <= 2147483647",
        "the system refused the file",
        '[("x", "float32", "rows, 3"), ("type", "bool", "rows"), ("w", "float32", "3"), '
        '("y", "float32", "rows")]',
    ]
    sg.load(tmp_path / "rust.safetensors", into=f)
    assert w.value.tolist() == [3.0, 4.0, 5.0]


def test_the_module_for_julia_has_the_fields_of_the_structs_in_c(tmp_path):
    """No Julia here: names, order and types are compared with those of the header, which the C
    compiler reads."""
    write_wrappers(tmp_path, ["julia"])
    text, header = (tmp_path / "step.jl").read_text(), (tmp_path / "step.h").read_text()
    types = {
        "float": "Float32", "int64_t": "Int64", "int32_t": "Int32", "uint8_t": "UInt8",
        "char": "Cstring",
    }  # fmt: skip
    for struct, name in (
        ("Inputs", "inputs"), ("Params", "params"), ("Outputs", "outputs"), ("Row", "array"),
    ):  # fmt: skip
        (body,) = re.findall(rf"typedef struct {{([^}}]*)}} step_{name};", header)
        fields = re.findall(r"^ *(?:const )?(\w+) (\*?)(\w+);", body, re.M)
        want = []
        for kind, star, field in fields:
            is_pointer = star and kind != "char"
            kind = f"Ptr{{{types[kind]}}}" if is_pointer else types[kind]
            want.append(f"{field.rstrip('_')}::{kind}")
        (actual,) = re.findall(rf"struct {struct}\n(.*?)\nend", text, re.S)
        assert [line.strip().replace("type_", "type") for line in actual.splitlines()] == want
    calls = {*re.findall(r":(step_\w+), LIBRARY", text)}
    functions = "message|version|shape|interface|initial|arena_bytes|run|save|load"
    assert calls == {f"step_{function}" for function in functions.split("|")}
    for call in calls:
        assert re.search(rf"\b{call}\(", header)
    opened = len(re.findall(r"^(?:function|struct|mutable struct|module)\b", text, re.M))
    assert opened + text.count(" begin\n") == len(re.findall(r"^ *end$", text, re.M))
    for pair in ("()", "[]", "{}"):
        assert text.count(pair[0]) == text.count(pair[1])


# -- LAPACK ---------------------------------------------------------------------------------------


def likelihood(n=30):
    """The negative likelihood of a Gaussian process, a step down its gradient."""
    x, y = sg.input("x", (n,), "float64"), sg.input("y", (n,), "float64")
    length, noise = sg.parameter("length", 0.0), sg.parameter("noise", -1.0)
    square = (x[:, None] - x) ** 2
    k = sg.exp(-0.5 * square * sg.exp(-2.0 * length)) + sg.exp(2.0 * noise) * sg.eye(n)
    factor = sg.linalg.cholesky(k)
    z = sg.linalg.solve_triangular(factor, y, lower=True)
    loss = 0.5 * (z * z).sum() + sg.log(sg.diagonal(factor)).sum()
    slopes = sg.grad(loss, [length, noise])
    updates = {p: p - 0.01 * g for p, g in zip((length, noise), slopes, strict=True)}
    return sg.Graph({"loss": loss}, updates=updates)


def points(n=30):
    x = np.sort(RNG.uniform(0, 5, n))
    return {"x": x, "y": np.sin(x) + 0.1 * RNG.normal(size=n)}


def test_lapack_is_inside_by_the_libraries_that_are_named(tmp_path):
    graph, feeds = likelihood(), points()
    f = sg.compile(graph, threads=1)
    try:
        module = module_of(f, tmp_path, libraries=["scipy"])
    except errors.ArgumentError:
        pytest.skip("SciPy has no OpenBLAS of its own")
    program = module.Program()
    for _ in range(4):
        assert program.run(feeds)["loss"].tobytes() == np.asarray(f.run(feeds)["loss"]).tobytes()
    for p in graph.parameters:
        assert program.parameters[p.name].tobytes() == p.value.tobytes()
    program.parameters["noise"][...] = -np.inf
    feeds["x"][1] = feeds["x"][0]
    with pytest.raises(module.ProgramError, match="failed: cholesky: test_library_interface"):
        program.run(feeds)
