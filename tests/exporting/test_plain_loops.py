"""Plain loops, by which Numba and exported files run kernels, mean what kernels say."""

import ast
import builtins
import math

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from tests.exporting.printed import helpers, run_exported, run_printed

INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
#: By way of how many bits a processor converts a float to an integer.
BITS = {"i64": 64, "u32": 64}
EDGES = [2.0**n for n in (7, 8, 15, 16, 31, 32, 62, 63, 64, 70)]
VALUES = [math.nan, math.inf, 0.0, 0.5, 2.75, 3e9, *EDGES, *(edge - 0.5 for edge in EDGES)]
VALUES += [-value for value in VALUES]


def convert_by_hand(value, name):
    """An integer by hand: truncated where its bits hold it, else their smallest, then narrowed."""

    def to_signed(number, bits):
        inside = math.isfinite(number) and -(2 ** (bits - 1)) <= int(number) < 2 ** (bits - 1)
        return int(number) if inside else -(2 ** (bits - 1))

    if name == "u64":
        large = value >= 2.0**63
        integer = (to_signed(value - 2.0**63, 64) + 2**63) if large else to_signed(value, 64)
    else:
        integer = to_signed(value, BITS.get(name, 32))
    bits = int(name[1:])
    integer %= 2**bits
    return integer - 2**bits if name[0] == "i" and integer >= 2 ** (bits - 1) else integer


def test_floats_that_no_integer_holds_become_the_same_integer_everywhere():
    """A quotient by what is always 0 is known to have none: LLVM may make it any number."""
    outs = {f"p{3 + n}": (n // 8, INTEGERS[n % 8]) for n in range(24)}
    stores = "".join(
        f"    %{10 + n}: {name} = cast %{(1, 2, 8)[source]}\n    store {out}[j] = %{10 + n}\n"
        for n, (out, (source, name)) in enumerate(outs.items())
    )
    takes = ", ".join(f"{out}: out {name}" for out, (_, name) in outs.items())
    text = f"""kernel(p0: in f64, p1: in f32, p2: in u8, {takes}; n0) {{
  map j: n0 {{
    %1: f64 = load p0[j]
    %2: f32 = load p1[j]
    %3: u8 = load p2[j]
    %4: u8 = not %3
    %5: u8 = and %3, %4
    %7: f32 = cast %5
    %8: f32 = div %2, %7
{stores}  }}
}}
"""
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    x = np.array(VALUES)
    short = x.astype("f4")
    memory = {"p0": x, "p1": short, "p2": np.arange(len(x), dtype="u1")}
    memory |= {
        out: np.ones(len(x), f"{name[0]}{int(name[1:]) // 8}") for out, (_, name) in outs.items()
    }
    run_printed(kernel, memory, {"n0": len(x)})
    with np.errstate(all="ignore"):
        sources = (x, short, short / np.float32(0))
    for out, (source, name) in outs.items():
        expected = [convert_by_hand(float(value), name) for value in sources[source]]
        assert memory[out].tolist() == expected, (source, name)


def test_a_guarded_number_is_compared_whole():
    """A number read within bounds, else -1, is a bool before it is compared with another."""
    text = """kernel(p0: in f64, p1: out bool, p2: in bool; n0) {
  map j: n0 {
    %0: f64 = load p0[[j + 1 in n0]] else f64(-1.0)
    %1: bool = cast %0
    %2: bool = load p2[j]
    %3: bool = lt %1, %2
    store p1[j] = %3
  }
}
"""
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    memory = {"p0": np.array([3.0, 0.0, 0.25]), "p1": np.zeros(3, bool), "p2": np.ones(3, bool)}
    run_printed(kernel, memory, {"n0": 3})
    assert memory["p1"].tolist() == [True, False, False]


class Assigned(ast.NodeVisitor):
    """The names of a function that a line reads before any line above has assigned them."""

    def __init__(self, names):
        self.names, self.missing = set(names), set()

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load) and node.id not in self.names:
            self.missing.add(node.id)
        self.names.add(node.id)

    def visit_arg(self, node):
        self.names.add(node.arg)

    def visit_Assign(self, node):
        for part in (node.value, *node.targets):
            self.visit(part)

    def visit_For(self, node):
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)


#: Images and filters whose gradient has parts of 16 channels, of which the last may be shorter.
FILTERS = [((1, 2, 6, 7), (20, 2, 3, 3), 2), ((2, 2, 5, 6, 4), (40, 2, 3, 3, 3), 1)]


def slope_of_filters(image, filters, dilation):
    x, k = sg.input("x", image, "float64"), sg.input("k", filters, "float64")
    y = sg.nn.conv(x, k, padding=2, dilation=dilation)
    return sg.Graph({"dk": sg.grad((y * y).sum(), k)})


@pytest.mark.parametrize(("image", "filters", "dilation"), FILTERS, ids=str)
def test_a_kernel_assigns_names_before_it_reads_them(image, filters, dilation, tmp_path):
    path = sg.compile(slope_of_filters(image, filters, dilation)).export(tmp_path / "slope.py")
    tree = ast.parse(path.read_text("utf-8"))
    kernels = [
        definition
        for definition in tree.body
        if getattr(definition, "name", "").endswith("conv_filter")
    ]
    assert kernels
    names = {definition.name for definition in tree.body if isinstance(definition, ast.FunctionDef)}
    for kernel in kernels:
        check = Assigned({*names, *vars(builtins), *helpers()})
        for part in (kernel.args, *kernel.body):
            check.visit(part)
        assert not check.missing


@pytest.mark.exhaustive
def test_slopes_of_filters_in_parts_are_those_of_the_program(rng, tmp_path):
    graph = slope_of_filters(*FILTERS[0])
    feeds = {"x": rng.normal(size=FILTERS[0][0]), "k": rng.normal(size=FILTERS[0][1])}
    f = sg.compile(graph)
    actual = run_exported(f, feeds, tmp_path / "slope.py")
    np.testing.assert_array_equal(actual["dk"], f.run(feeds)["dk"])
