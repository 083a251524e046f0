"""Libraries for C: a program in C trains with one, results are bitwise those of ``f.run``."""

import ctypes
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy

import staticgrad as sg
from staticgrad import errors
from staticgrad.exporting import library as libraries

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
RNG = np.random.default_rng(11)


def normal(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


class Library:
    """An exported library, called by the order of fields in its header."""

    def __init__(self, f, path, **sizes):
        self.graph, self.name = f.program_graph, path.stem
        f.export(path, **sizes)
        self.code = ctypes.CDLL(str(path))
        nbytes = getattr(self.code, f"{self.name}_arena_bytes")
        nbytes.restype = ctypes.c_size_t
        memory = np.full(nbytes() + 64, 0xA5, np.uint8)
        self.arena = memory[-memory.ctypes.data % 64 :]
        self.message = getattr(self.code, f"{self.name}_message")
        self.message.restype = ctypes.c_char_p

    def run(self, feeds, parameters, results, pool=None):
        """Return the code of one run; parameters and results are written."""
        inputs = [
            np.ascontiguousarray(feeds[v.node.label], v.dtype.numpy) for v in self.graph.inputs
        ]
        structs = [
            (ctypes.c_void_p * max(1, len(arrays)))(*[a.ctypes.data for a in arrays])
            for arrays in (inputs, parameters.values(), results.values())
        ]
        run = getattr(self.code, f"{self.name}_run")
        return run(*structs, ctypes.c_void_p(self.arena.ctypes.data), pool)


class Pool:
    """Threads of a caller: each call is cut in two parts."""

    def __init__(self):
        self.calls = 0
        task = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        kinds = [ctypes.c_void_p, task, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self.run = ctypes.CFUNCTYPE(None, *kinds)(self._run)
        words = ctypes.cast(self.run, ctypes.c_void_p).value, None
        self.struct = (ctypes.c_void_p * 2)(*words)

    def _run(self, _, task, job, total, grain):
        self.calls += 1
        half = min(total, -(-(total // 2) // grain) * grain)
        with ThreadPoolExecutor(2) as threads:
            for begin, end in ((half, total), (0, half)):
                threads.submit(task, job, begin, end)


def scan_rows():
    x, w = sg.input("x", (9, 4, 6)), sg.input("w", (6, 6))
    carry, out = sg.scan(lambda c, row: (sg.tanh(c @ w + row),) * 2, sg.zeros((4, 6)), x)
    return {"out": out, **dict(zip(("dx", "dw"), sg.grad(carry.sum(), [x, w]), strict=True))}


def halve():
    x = sg.input("x", (5,), "float64")
    y = sg.while_loop(lambda v: (v * v).sum() > 1e-3, lambda v: v * 0.5, x, max_steps=200)
    return {"y": y[0] if isinstance(y, tuple) else y}


def switch_branches():
    x, at = sg.input("x", (8,)), sg.input("at", (), "int64")
    return {"y": sg.switch(at, [sg.sin, sg.exp, lambda v: v * 2.0], x)}


def convolve_and_pool():
    x, w = sg.input("x", (2, 3, 11, 11)), sg.input("w", (4, 3, 3, 3))
    y = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2)
    return {"y": y, "dw": sg.grad((y * y).sum(), w)}


def convolve_by_strides():
    """Strided convolutions with padding, in two and three dimensions and in groups, and slopes."""
    outputs = {}
    for name, size, groups in (("a", (9, 10), 1), ("b", (5, 6, 7), 1), ("c", (9, 10), 2)):
        x = sg.input(f"x{name}", (2, 4, *size))
        w = sg.input(f"w{name}", (8, 4 // groups, *[3] * len(size)))
        y = sg.nn.conv(x, w, stride=2, padding=1, groups=groups)
        dx, dw = sg.grad((y * y).sum(), [x, w])
        outputs |= {f"y{name}": y, f"dx{name}": dx, f"dw{name}": dw}
    return outputs


def mix_dtypes():
    x = sg.input("x", (33,), "float64")
    return {
        "order": sg.argsort(x),
        "low": x.astype("float16"),
        "brain": x.astype("bfloat16"),
        "sign": x > 0.0,
        "same": x,
        "twice": x,
        "sums": sg.cumsum(x.astype("int8")),
    }


def round_factors():
    """Products of bfloat16 whose factors lie in either dtype, with an epilogue and slopes."""
    x, w = sg.input("x", (19, 37)), sg.input("w", (37, 33))
    h = sg.tanh((x.astype("bfloat16") @ w.astype("bfloat16")).astype("float32"))
    y = (h.astype("bfloat16") @ w.T.astype("bfloat16")).astype("float32")
    return {"h": h, "y": y, "dw": sg.grad((y * y).sum(), w)}


def sparse():
    data, x = sg.input("data", (7,)), sg.input("x", (4, 19))
    y = sg.sparse.csr(data, [0, 3, 1, 1, 2, 0, 3], [0, 2, 2, 5, 7], (4, 4)) @ x
    return {"y": y, **dict(zip(("a", "b"), sg.grad((y * y).sum(), [data, x]), strict=True))}


def sparse_layers():
    data, x = sg.input("data", (7,)), sg.input("x", (4, 19))
    h = x
    for _ in range(5):
        h = sg.tanh(sg.sparse.csr(data, [0, 3, 1, 1, 2, 0, 3], [0, 2, 2, 5, 7], (4, 4)) @ h)
    return {"y": h, **dict(zip(("a", "b"), sg.grad((h * h).sum(), [data, x]), strict=True))}


#: Name of a case -> its program.
PROGRAMS = {
    "scanned": scan_rows,
    "halved": halve,
    "branched": switch_branches,
    "convolved": convolve_and_pool,
    "mixed": mix_dtypes,
    "rounded": round_factors,
    "sparse": sparse,
}


@pytest.mark.parametrize(
    ("program", "options"),
    [
        *(
            pytest.param(program, {}, id=f"{name}-options{number}")
            for number, (name, program) in enumerate(PROGRAMS.items())
        ),
        (sparse_layers, {"memory_budget": 1800}),
        pytest.param(convolve_by_strides, {}, marks=pytest.mark.slow, id="strided-options7"),
    ],
)
def test_results_are_those_of_the_program(program, options, tmp_path):
    f = sg.compile(sg.Graph(program()), **options)
    for case in (0, 1, -1, 5):
        feeds = {
            v.node.label: np.int64(case) if v.dtype.is_integer else normal(*v.shape)
            for v in f.program_graph.inputs
        }
        feeds = {
            n: np.asarray(a, f.program_graph.inputs[k].dtype.numpy)
            for k, (n, a) in enumerate(feeds.items())
        }
        want = {name: np.asarray(value) for name, value in f.run(feeds).items()}
        library = Library(f, tmp_path / f"case_{case % 9}.so")
        actual = {name: np.zeros_like(array) for name, array in want.items()}
        assert library.run(feeds, {}, actual) == 0
        for name, array in want.items():
            assert actual[name].tobytes() == array.tobytes(), name


def sorted_rows():
    x = sg.input("x", (400, 900))
    y = sg.nn.layer_norm(x)
    return {"y": sg.nn.softmax(y), "dx": sg.grad((sg.sort(y, axis=-1) ** 3).sum(), x)}


def convolve_large_images():
    x, w = sg.input("x", (32, 3, 30, 30)), sg.input("w", (4, 3, 3, 3))
    y = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2)
    return {"y": y, "dw": sg.grad((y * y).sum(), w)}


@pytest.mark.parametrize(
    "program", [sorted_rows, convolve_large_images], ids=["sorted_rows", "filtered"]
)
def test_threads_of_the_caller_have_scratch_of_their_own(program, tmp_path):
    f = sg.compile(sg.Graph(program()), threads=2)
    feeds = {v.node.label: normal(*v.shape) for v in f.program_graph.inputs}
    want = {name: np.asarray(value) for name, value in f.run(feeds).items()}
    steps = f.plan().schedule.steps
    assert any(access.is_own for step in steps for access in step.accesses())
    library, pool = Library(f, tmp_path / "shared.so"), Pool()
    actual = {name: np.zeros_like(array) for name, array in want.items()}
    assert library.run(feeds, {}, actual, pool.struct) == 0
    assert pool.calls
    for name, array in want.items():
        assert actual[name].tobytes() == array.tobytes(), name


def test_a_failed_check_ends_the_run_before_parameters_are_written(tmp_path):
    table, at = sg.parameter("table", normal(5, 3)), sg.input("at", ("n",), "int64")
    rows = sg.take(table, at, 0)
    loss = (rows * rows).sum()
    step = {table: table - 0.5 * sg.grad(loss, table)}
    f = sg.compile(sg.Graph({"loss": loss}, updates=step))
    library = Library(f, tmp_path / "looked.so", n=4)
    parameters = {"table": np.array(table.value)}
    table_before, results = parameters["table"].copy(), {"loss": np.zeros((), "float32")}
    code = library.run({"at": [0, 1, 5, 2]}, parameters, results)
    assert code > 0
    assert b"index is out of range" in library.message(code)
    assert b"take" in library.message(code)
    np.testing.assert_array_equal(parameters["table"], table_before)
    assert library.run({"at": [0, 1, 4, -1]}, parameters, results) == 0
    want = f.run({"at": np.array([0, 1, 4, -1])})
    assert results["loss"].tobytes() == want["loss"].tobytes()
    assert parameters["table"].tobytes() == table.value.tobytes()


TRAIN = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "train.h"

typedef struct { train_task task; void *job; int64_t begin, end; } part;
static void *one(void *given) {
    part *p = given;
    p->task(p->job, p->begin, p->end);
    return NULL;
}
static int parts;
static void in_two(void *pool, train_task task, void *job, int64_t total, int64_t grain) {
    int64_t half = (total / 2 + grain - 1) / grain * grain;
    if (half > total) half = total;
    part first = {task, job, 0, half}, second = {task, job, half, total};
    pthread_t thread;
    (void)pool;
    parts++;
    pthread_create(&thread, NULL, one, &first);
    one(&second);
    pthread_join(thread, NULL);
}
int main(int count, char **words) {
    float x[64 * 300], y[64], w[300], loss;
    for (int i = 0; i < 64; i++) {
        y[i] = (float)(i % 7) / 7;
        for (int j = 0; j < 300; j++)
            x[i * 300 + j] = (float)((i * 31 + j * 17) % 101) / 101 - 0.5f;
    }
    train_inputs inputs = {.x = x, .y = y};
    train_params params = {.w = w};
    train_outputs outputs = {.loss = &loss};
    train_pool pool = {in_two, NULL};
    void *arena = aligned_alloc(64, (train_arena_bytes() + 63) / 64 * 64);
    train_initial(&params);
    for (int step = 0; step < atoi(words[1]); step++)
        if (train_run(&inputs, &params, &outputs, arena, count > 2 ? &pool : NULL)) return 1;
    fwrite(&loss, 4, 1, stdout);
    fwrite(w, 4, 300, stdout);
    free(arena);
    fprintf(stderr, "%d", parts);
    return 0;
}
"""


@pytest.mark.parametrize("kind", ["so", "o", "a"])
def test_a_program_in_c_trains(kind, tmp_path):
    x, y = sg.input("x", ("batch", 300)), sg.input("y", ("batch",))
    w = sg.parameter("w", normal(300) * 0.1)
    loss = ((sg.tanh(x) @ w - y) ** 2).mean() + 0.1 * sg.exp(sg.tanh(x * w)).mean()
    f = sg.compile(sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)}))
    library = f.export(tmp_path / f"train.{kind}", header=tmp_path / "train.h", batch=64)
    (tmp_path / "main.c").write_text(TRAIN)
    command = [
        "cc",
        "-std=c11",
        "-Wall",
        "-Werror",
        "main.c",
        str(library),
        "-lpthread",
        "-o",
        "main",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    i, j = np.arange(64)[:, None], np.arange(300)
    feeds = {
        "x": (((i * 31 + j * 17) % 101).astype("float32") / np.float32(101) - np.float32(0.5)),
        "y": (np.arange(64) % 7).astype("float32") / np.float32(7),
    }
    for _ in range(5):
        want = f.run(feeds)["loss"]
    for threads in ([], ["pool"]):
        ran = subprocess.run(
            ["./main", "5", *threads], cwd=tmp_path, capture_output=True, check=True
        )
        actual = np.frombuffer(ran.stdout, "float32")
        assert actual[0] == want
        assert actual[1:].tobytes() == w.value.tobytes()
        assert (ran.stderr != b"0") == bool(threads)


SIZES = r"""
#include <stdio.h>
#include <stdlib.h>
#include "sized.h"
int main(void) {
    float x[64 * 3], y[64 * 2], w[6] = {1, 2, 3, 4, 5, 6};
    for (int i = 0; i < 64 * 3; i++) x[i] = (float)i / 7;
    sized_inputs inputs = {.x = x};
    sized_params params = {.w = w};
    sized_outputs outputs = {.y = y};
    int64_t sizes[] = {64, 17, 5};
    for (int k = 0; k < 3; k++) {
        void *arena = aligned_alloc(64, (sized_arena_bytes(sizes[k]) + 64) / 64 * 64);
        int code = sized_run(sizes[k], &inputs, &params, &outputs, arena, NULL);
        free(arena);
        if (code) return puts(sized_message(code)) < 0;
        fwrite(y, 4, sizes[k] * 2, stderr);
    }
    return 1;
}
"""


def test_sizes_of_several_values_are_arguments(tmp_path):
    x, w = sg.input("x", ("batch", 3)), sg.parameter("w", np.zeros((3, 2), "float32"))
    y = sg.nn.softmax(sg.exp(sg.constant(normal(3)) * x / 9.0) @ w, axis=0)
    f = sg.compile(sg.Graph({"y": y}))
    f.export(tmp_path / "sized.a", batch=(64, 17))
    (tmp_path / "main.c").write_text(SIZES)
    command = ["cc", "-std=c11", "-Wall", "-Werror", "main.c", "sized.a", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    ran = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, check=True)
    assert ran.stdout == b"there is no plan for these sizes: batch = 64, or batch = 17\n"
    w.value = np.arange(1.0, 7.0, dtype="float32").reshape(3, 2)
    x = np.arange(64 * 3, dtype="float32").reshape(64, 3) / np.float32(7)
    assert ran.stderr == b"".join(f.run({"x": x[:n]})["y"].tobytes() for n in (64, 17))


LAPACK = r"""
#include <stdio.h>
#include <stdlib.h>
#include "solved.h"
#define JUMP(f) __asm__(".globl " #f "_\n" #f "_: jmp " PREFIX #f "_@PLT");
solved_LAPACK(JUMP)
int main(void) {
    static double a[PARTS * 7200], b[PARTS * 360], x[PARTS * 360];
    double loss, slope[PARTS * 7200];
    size_t count = fread(a, 8, PARTS * 7200, stdin) + fread(b, 8, PARTS * 360, stdin);
    if (count != PARTS * 7560) return 1;
    solved_inputs inputs = {.a = a, .b = b};
    solved_params params = {0};
    solved_outputs outputs = {.x = x, .loss = &loss, .slope = slope};
    void *arena = aligned_alloc(64, (solved_arena_bytes() + 63) / 64 * 64);
    if (solved_run(&inputs, &params, &outputs, arena, NULL)) return 2;
    fwrite(x, 8, PARTS * 360, stdout);
    fwrite(&loss, 8, 1, stdout);
    fwrite(slope, 8, PARTS * 7200, stdout);
    a[PARTS * 3600] = -1.0;
    int code = solved_run(&inputs, &params, &outputs, arena, NULL);
    fputs(solved_message(code), stderr);
    free(arena);
    return 0;
}
"""


def openblas():
    """SciPy's wheels bring an OpenBLAS: its path, and what its names begin with."""
    folder = Path(scipy.__file__).parents[1] / "scipy.libs"
    libraries = [*folder.glob("libscipy_openblas-*.so*")]
    return libraries[0] if libraries and platform.machine() == "x86_64" else None


@pytest.mark.skipif(openblas() is None, reason="SciPy has no OpenBLAS of its own")
@pytest.mark.parametrize(("kind", "dtype"), [("so", "float64"), ("a", "complex128")])
def test_lapack_is_linked_by_the_caller(kind, dtype, tmp_path):
    a, b = sg.input("a", (2, 60, 60), dtype), sg.input("b", (2, 60, 3), dtype)
    x = sg.linalg.solve(a, b)
    loss = sg.log(sg.diagonal(sg.linalg.cholesky(a), axis1=1, axis2=2).real).sum()
    loss = loss + sg.abs_square(x).sum() + sg.linalg.svdvals(b).sum()
    f = sg.compile(sg.Graph({"x": x, "loss": loss, "slope": sg.grad(loss, a)}), threads=1)
    f.export(tmp_path / f"solved.{kind}")
    (tmp_path / "main.c").write_text(LAPACK)
    library = openblas()
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", '-DPREFIX="scipy_"']
    command += [f"-DPARTS={np.dtype(dtype).itemsize // 8}", "main.c"]
    command += [f"./solved.{kind}", str(library), f"-Wl,-rpath,{library.parent}", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    q, b = normal(2, 60, 60, dtype="float64"), normal(2, 60, 3, dtype="float64")
    if dtype == "complex128":
        q, b = q + 1j * q.swapaxes(1, 2), b + 1j * b[:, ::-1]
    feeds = {"a": q @ q.conj().swapaxes(1, 2) + 60.0 * np.eye(60), "b": b}
    ran = subprocess.run(
        ["./main"],
        cwd=tmp_path,
        input=feeds["a"].tobytes() + feeds["b"].tobytes(),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    want = f.run(feeds)
    assert ran.stdout == b"".join(want[name].tobytes() for name in ("x", "loss", "slope"))
    assert b"cholesky: test_library.py:" in ran.stderr


def linear():
    return sg.compile(sg.input("x", ("n",), "float32") * 2.0)


REFUSED = {
    "a header of a module": (linear, "a.py", {"header": "a.h"}, errors.ArgumentError, "header"),
    "libraries of a module": (
        linear, "a.py", {"libraries": ["m"]}, errors.ArgumentError, "libraries belong",
    ),
    "libraries of an archive": (
        linear, "a.a", {"libraries": ["m"]}, errors.ArgumentError, "not to a .a",
    ),
    "a library that is not there": (
        linear, "a.so", {"libraries": ["./libno.so"]}, errors.ArgumentError, "no file 'libno.so'",
    ),
    "a library that is no name": (
        linear, "a.so", {"libraries": ["m -o x"]}, errors.ArgumentError, "neither a name",
    ),
    "a library that the linker does not find": (
        linear, "a.so", {"libraries": ["no_such_library"]}, errors.CompileError, "no_such_library",
    ),
    "a wrapper of a module": (
        linear, "a.py", {"wrappers": ["rust"]}, errors.ArgumentError, "wrappers belong",
    ),
    "a wrapper in another language": (
        linear, "a.so", {"wrappers": ["cobol"]}, errors.ArgumentError, "'cobol'(.|\n)*rust, julia",
    ),
    "a wrapper that cannot load an archive": (
        linear, "a.a", {"wrappers": "python"}, errors.ArgumentError, "shared libraries, not .a",
    ),
    "another suffix": (linear, "a.dll", {"n": 3}, errors.ArgumentError, "a.dll"),
    "a stem that is no name": (linear, "1a.so", {"n": 3}, errors.ArgumentError, "prefix in C"),
    "a call of a user's function": (
        lambda: sg.compile(sg.host_call(np.cumsum, x := sg.input("x", (3,)), types=[x.type])),
        "a.so", {}, errors.ExportError, "host_call",
    ),
    "a special function of SciPy": (
        lambda: sg.compile(sg.special.hyp0f1(1.5, sg.input("x", (4,), "float64"))),
        "a.so", {}, errors.ExportError, "SciPy's special functions cannot be exported",
    ),
    "several sizes": (linear, "a.py", {"n": (3, 4)}, errors.ArgumentError, "n stays free"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "name", "options", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals(make, name, options, kind, text, tmp_path):
    with pytest.raises(kind, match=text):
        make().export(tmp_path / name, **options)
    assert not [*tmp_path.iterdir()]


def test_without_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.ExportError, match="C compiler"):
        linear().export(tmp_path / "a.so", n=3)


def test_names_that_c_cannot_have_are_fields_apart(tmp_path):
    a, b, c = sg.input("a.b", (3,)), sg.input("a_b", (3,)), sg.input("double", (3,))
    f = sg.compile(sg.Graph({"in": a - b, "2 */": b * c}))
    feeds = {"a.b": normal(3), "a_b": normal(3), "double": normal(3)}
    library = Library(f, tmp_path / "names.so")
    header = (tmp_path / "names.h").read_text()
    for name in ("*a_b;", "*a_b_;", "*double_;", "*in;", "*_2___;"):
        assert name in header
    results = {name: np.zeros(3, "float32") for name in ("in", "2 */")}
    assert library.run(feeds, {}, results) == 0
    assert results["in"].tobytes() == (feeds["a.b"] - feeds["a_b"]).tobytes()


def test_what_is_there_stays_where_linking_fails(monkeypatch, tmp_path):
    monkeypatch.setitem(libraries.LINKING, ".so", ("{cc}", "--no-such-option", "-o", "{path}"))
    files = [tmp_path / "step.so", tmp_path / "step.h"]
    for path in files:
        path.write_text("before")
    with pytest.raises(errors.CompileError, match="failed"):
        linear().export(files[0], n=3)
    assert [path.read_text() for path in files] == ["before"] * 2
    assert sorted(tmp_path.iterdir()) == sorted(files)
