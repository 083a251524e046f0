"""Contents of packages: names of ops only in ops, one meaning for each class name."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import staticgrad.functions  # noqa: F401 - fills the registry
from staticgrad.language.ir.op import registered_ops
from tests.helpers.syntax import nodes_of, syntax_tree

ROOT = Path(__file__).parents[2]
#: Where ops may be named: ops and what is composed of them, and formulas in place of others, which
#: are written with ops as users write them.
NAMING = (
    *("staticgrad/language/ops/", "staticgrad/functions/", "staticgrad/tools/lints/"),
    *("staticgrad/fft/", "staticgrad/linalg/", "staticgrad/nn/functional/", "staticgrad/ode/"),
    *("staticgrad/random/", "staticgrad/sparse/", "staticgrad/special/"),
    *("passes/rules/", "passes/late/"),
)
#: Files beyond these that name ops, each with the reason.
EXCEPTIONS = {
    **dict.fromkeys(
        [
            f"passes/loops/{name}.py"
            for name in (
                *(
                    "hoisting",
                    "interleaved",
                    "merging",
                    "pruning",
                    "rounded_products",
                    "rounded_slices",
                    "stacking",
                ),
            )
        ],
        "what loops and branches hold and carry is known to passes over them",
    ),
    "staticgrad/jax/lax/primitives.py": "no function of the package gives the bits of a number",
    "staticgrad/onnx/quantized.py": "what was dequantized is found in the graph by its formula",
    "staticgrad/compiler/compiling/quantization.py": "products by parameters become others",
    "staticgrad/onnx/writer.py": "ops are written as operators of ONNX",
    "passes/loops/loop_pairs.py": "loops over what others stack, or blocks of rows",
    "staticgrad/compiler/lowering/fuse.py": "products of bfloat16 take two terms at once",
    "staticgrad/checkpoint_policies.py": "policies save the results of products",
    "staticgrad/eager/stepping.py": "ops that NumPy computes in place",
    "passes/narrow.py": "values between two conversions",
    "passes/loops/segments.py": "loops as nested ones, their arrays as rows of rows",
    "passes/loops/divisions.py": "arrays of rows as rows of rows, and numbers of iterations",
    "staticgrad/eager/shortcuts.py": "the operators of tensors, each bound to its op by hand",
}


@cache
def trees():
    return {
        path.relative_to(ROOT).as_posix(): syntax_tree(path)
        for package in ("staticgrad", "passes")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def ops_named_in(tree):
    """Classes of ops that a file imports, and names of ops that it compares ``op.name`` with."""
    ops = registered_ops()
    classes = {(op.__module__, op.__name__) for op in ops.values() if op.name not in LEAVES}
    for node in nodes_of(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (a.name for a in node.names if (node.module, a.name) in classes)
        named = isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute)
        if named and node.left.attr == "name" and ast.unparse(node.left).endswith("op.name"):
            text = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            yield from (name for name in text if name in ops.keys() - LEAVES)


#: The ops that a graph itself knows.
LEAVES = {"input", "parameter", "constant"}


def test_ops_are_named_in_ops_and_formulas_only():
    naming = {
        path: sorted(set(ops_named_in(tree)))
        for path, tree in trees().items()
        if not path.startswith(NAMING)
    }
    actual = {path: names for path, names in naming.items() if names}
    assert {path: names for path, names in actual.items() if path not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() == actual.keys(), "an exception that is none any more"


def test_the_search_for_names_of_ops_finds_them():
    text = (
        "from staticgrad.language.ops.reduce import Sum\nfound = node.op.name in ('mul', 'input')"
    )
    assert sorted(ops_named_in(ast.parse(text))) == ["Sum", "mul"]
    assert sorted(ops_named_in(trees()["staticgrad/tools/lints/ranges.py"])) == []
    assert sorted(ops_named_in(trees()["staticgrad/language/ir/ranges.py"])) == []


def class_names():
    """Class name -> the files that define one of that name at their top level."""
    files_by_name = defaultdict(list)
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                files_by_name[node.name].append(path)
    return dict(files_by_name)


#: Class names that stand for two things, each with the reason.
TWICE = {
    **dict.fromkeys(("Sigmoid", "Tanh"), "the op, and the twin's module of the same function"),
    "Generator": "the twin's, which draws at once what that of sg.random writes into a graph",
    "Sqrt": "the op, and the policy of that name",
    "Identity": "the module, and the form of an op that gives its operand",
    "Loop": "the op, and what repeats stages of a kernel",
    "Sort": "the op, and the stage of a kernel, which messages call by its class",
    **dict.fromkeys(("Stream", "Vector"), "a directive, by the field's word"),
    **dict.fromkeys(
        ("At", "Branch", "Run"),
        "an instruction of a step that runs bodies, which its writers name by its module",
    ),
    **dict.fromkeys(
        ("Function", "Scalar"),
        "native compiles functions of Python; it knows no graph, and its terms are its own",
    ),
}


def test_a_class_name_means_one_thing():
    named = {name: files for name, files in class_names().items() if not name.startswith("_")}
    twice = {name: files for name, files in named.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in TWICE} == {}
    docs = {path: ast.get_docstring(tree) or "" for path, tree in trees().items()}
    assert [p for p, text in docs.items() if SAID_BY_IMPORTS.search(" ".join(text.split()))] == []


#: What imports say already (``pyproject.toml`` has the layers).
SAID_BY_IMPORTS = re.compile(
    r"\b[Kk]nows? (no|neither|nothing)\b|\bnot known here\b|Nothing here\b"
)
