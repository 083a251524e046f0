"""No name of a user meets a word of a text: each word of what is written is given to an array."""

import ast
import re
import shutil
import string
import subprocess

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.exporting import c_source
from staticgrad.support.identifiers import JULIA, PYTHON, RUST, C, NameMarks, fill
from tests.exporting.libraries import module_of
from tests.exporting.printed import load_exported

LANGUAGES = {"Python": PYTHON, "C": C, "Rust": RUST, "Julia": JULIA}
#: NameMarks that no language has as they are.
ODD = ["x y", "x.y", "x_y", "x_y_", "3", "é", "_", "__debug__", "__linux__", "INT64_MAX", '"', "*/"]
COMMON = ["at", "np", "n", "lambda", "lambda_", "int", "fn", "end", "x y", "x.y", "3", "", "_"]


@pytest.mark.parametrize("language", LANGUAGES)
@given(
    st.lists(st.sampled_from(COMMON) | st.text(string.ascii_letters + "_1 é.", max_size=4)),
    st.lists(st.sampled_from(COMMON[:4])),
)
def test_each_mark_gets_an_identifier_of_its_own(language, names_wanted, others):
    names, rules = NameMarks(), LANGUAGES[language]
    marks = [names.mark(name) for name in names_wanted]
    text = " ".join([*others, *marks, '"lambda"'])
    chosen = names.choose(text, rules, ["max"])
    written = [*chosen.values()]
    assert len({*written}) == len(names_wanted)
    assert not {*written} & ({*others, "max"} | rules.keywords)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name in written)
    assert fill(text, chosen).split() == [*others, *written, '"lambda"']
    for name, identifier in zip(names_wanted, written, strict=True):
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")
        assert identifier.strip("_").endswith(plain)


# -- Python ---------------------------------------------------------------------------------------


def make_loops(inputs, results, parameters, n="n", m="m"):
    """Loops in loops, a choice, look-ups, updates and sums, over arrays of these names."""
    x, w = sg.input("rows of all", (n, 3), "float64"), sg.parameter("scale of all", np.ones(3))
    arrays = [sg.input(name, (3,), "float64") for name in inputs]
    places = sg.input("places of all", (m,), "int64")
    total = sum((k + 1.0) * array for k, array in enumerate(arrays))

    def body(carry, row):
        return sg.fori_loop(0, 2, lambda k, c: sg.tanh(c * row), carry + total), carry.sum()

    last, sums = sg.scan(body, x[0], x)
    chosen = sg.cond(total.sum() > 0, lambda: x * 2.0, lambda: x - w)
    first = last + sg.take(x, places, 0).sum() + chosen.sum(0) + sums.sum()
    stores = [sg.parameter(name, np.ones(3)) for name in parameters]
    updates = {store: store * 0.5 + last for store in stores}
    return sg.Graph(
        {name: first + k for k, name in enumerate(results)}, updates={**updates, w: last}
    )


def exported_text(folder, *names):
    path = sg.compile(make_loops(*names)).export(folder / "program.py")
    return path.read_text("utf-8")


def without_names(text):
    """The functions of a file as trees, whose local names are numbers."""
    trees = []
    for function in ast.parse(text).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        local = {}
        for node in ast.walk(function):
            if isinstance(node, ast.arg):
                local.setdefault(node.arg, f"local{len(local)}")
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                local.setdefault(node.id, f"local{len(local)}")
        for node in ast.walk(function):
            if isinstance(node, ast.arg):
                node.arg = local[node.arg]
            elif isinstance(node, ast.Name):
                node.id = local.get(node.id, node.id)
        trees.append(ast.dump(function))
    return trees


def test_each_word_of_an_exported_file_may_be_a_name(tmp_path):
    """Renamed alike, all functions are those of a file with plain names: none reads another's."""
    plain = [f"plain{k}" for k in range(60)]
    expected = exported_text(tmp_path, plain[:40], plain[40:50], plain[50:], "rows", "columns")
    words = sorted((PYTHON.words_of(expected) | PYTHON.keywords) - {*plain, *ODD}) + ODD
    assert len(words) > 200
    for start in range(0, len(words), 62):
        part = (words + words)[start : start + 62]
        names = part[:40], part[40:50], part[50:60], part[60], part[61]
        text = exported_text(tmp_path, *names)
        assert without_names(text) == without_names(expected), part


@pytest.mark.slow
def test_a_file_runs_with_names_of_its_own_words(tmp_path):
    """Numbers that loops carry in registers are called s0, as buffers are."""
    names = ["s0", "s1", "r0", "f64", "tanh_f64", "at", "np", "steps", "x0", "k0_loop", "print"]
    graph = make_loops(names, ["run", "file", "c0"], ["n0", "file", "constant.s1"], "max", "sizes")
    f = sg.compile(sg.Graph(graph.outputs, graph.updates, name='"""a\\ {name} <sizes>'))
    file = load_exported(f.export(tmp_path / "program.py"))
    random = np.random.default_rng(0)
    for n in (4, 2):
        feeds = {name: random.normal(size=3) for name in names}
        feeds |= {"rows of all": random.normal(size=(n, 3)), "places of all": np.array([0, 1, 1])}
        actual, expected = file["run"](feeds), f.run(feeds)
        for name, result in expected.items():
            np.testing.assert_array_equal(actual[name], result)
    file["save"]()
    again = load_exported(tmp_path / "program.py")
    assert again["parameters"].keys() == {"n0", "file", "constant.s1", "scale of all"}
    for name, value in ((p.name, p.value) for p in f.program_graph.parameters):
        np.testing.assert_array_equal(again["parameters"][name], value)


@pytest.mark.slow
def test_functions_for_numba_have_the_names_of_their_inputs():
    names = ["inputs", "extents", "values", "make", "r0", "run_program", "result_array", "key"]
    arrays = [sg.input(name, (3,), "float64") for name in names]
    total = sum((k + 1.0) * array for k, array in enumerate(arrays))
    graph = sg.Graph({"total": total, "sum": total.sum()}, name="raise_failure")
    function = sg.numba.function(graph)
    feeds = {name: np.full(3, float(k)) for k, name in enumerate(names)}
    total, number = function(**feeds)
    assert total.tolist() == [168.0] * 3  # 1 * 0 + 2 * 1 + ... + 8 * 7
    assert number == 504.0


# -- C and its wrappers ---------------------------------------------------------------------------


def linear(inputs, parameters, results, n="rows", m="columns"):
    arrays = [sg.input(name, (n,), "float64") for name in inputs]
    table = sg.input("rest of all", (m, n), "float64")
    stores = [sg.parameter(name, np.ones(2)) for name in parameters]
    total = sum((k + 1.0) * array for k, array in enumerate(arrays)) + table.sum(0)
    outputs = {name: total + k for k, name in enumerate(results)}
    return sg.Graph(outputs, updates={store: store * 2.0 for store in stores})


def words_of_library(folder):
    """The words of a library's header, source and modules, and of the languages."""
    f = sg.compile(linear(["plain0"], ["plain1"], ["plain2"]))
    f.export(folder / "step.so", wrappers=["rust", "julia"])
    texts = [(folder / f"step{end}").read_text("utf-8") for end in (".h", ".rs", ".jl")]
    texts += [c_source.SOURCE.template, c_source.PLAN.template, c_source.PLACES.template]
    words = {*re.findall(r"[A-Za-z_]\w*", " ".join(texts))} - {"plain0", "plain1", "plain2"}
    return sorted(words | C.keywords | RUST.keywords | JULIA.keywords) + ODD


def checked_library(folder, part):
    """Export a program whose arrays and sizes have the names of a part of words, and run it."""
    inputs, parameters, results = part[2::2], part[3::2], part[2::2]
    f = sg.compile(linear(inputs, parameters, results, *part[:2]))
    folder.mkdir()
    module = module_of(f, folder)
    feeds = {name: np.full(3, float(k)) for k, name in enumerate(inputs)}
    feeds["rest of all"] = np.ones((2, 3))
    actual = module.Program().run(feeds)
    for name, result in f.run(feeds).items():
        np.testing.assert_array_equal(actual[name], result)
    for end, standard in (("c", "gnu11"), ("c", "gnu2x"), ("cpp", "c++20")):
        (folder / f"main.{end}").write_text('#include "step.h"\nint main(void) { return 0; }\n')
        command = ["cc", f"-std={standard}", "-Wall", "-Werror", "-fsyntax-only", f"main.{end}"]
        if shutil.which("g++") or end == "c":
            subprocess.run(command, cwd=folder, check=True)
    return f


def test_each_word_of_a_header_may_be_a_name(tmp_path):
    words = sorted(C.words_of(c_source.HEADER.template) | C.keywords)
    for number, start in enumerate(range(0, len(words), 110)):
        checked_library(tmp_path / str(number), (words + words)[start : start + 110])


@pytest.mark.exhaustive
def test_each_word_of_a_library_may_be_a_name(tmp_path):
    words = words_of_library(tmp_path)
    assert len(words) > 600
    for number, start in enumerate(range(0, len(words), 60)):
        part = (words + words)[start : start + 60]
        f, folder = checked_library(tmp_path / str(number), part), tmp_path / str(number)
        f.export(folder / "step.so", wrappers=["rust"])
        if shutil.which("rustc"):
            command = [
                "rustc",
                "-D",
                "warnings",
                "--crate-type",
                "lib",
                "--emit=metadata",
                "step.rs",
            ]
            subprocess.run(command, cwd=folder, check=True)


def test_variables_of_modules_are_no_words_of_their_text(tmp_path):
    """No Julia here: the arguments of a run are read, and no other line has one of them."""

    def text_of(names, *others):
        path = tmp_path / "step.so"
        sg.compile(linear(names, *others)).export(path, wrappers=["julia"])
        return (tmp_path / "step.jl").read_text("utf-8")

    plain = JULIA.words_of(text_of(["plain0"], ["plain1"], ["plain2"], "plain3", "plain4"))
    names = sorted(plain - {"plain0", "rest_of_all"} | JULIA.keywords)
    text = text_of(names, ["arena"], ["results"], "start", "bytes")
    (arguments,) = re.findall(r"^function run\(program::Program, (.*)\)$", text, re.M)
    variables = re.findall(r"(\w+)::", arguments)
    assert len({*variables}) == len(variables) == len(names) + 3
    assert not {*variables} & (plain | JULIA.keywords) - {"rest_of_all"}
