"""A failing program as a script of its own, which needs none of the tests."""

import inspect
import re

from tests.composed import by_numpy, rules

_START = """{imports}

{rules}F = "{dtype}"
rng = sg.random.Generator(seed={seed}, name="draws")
{meanings}

{staticgrad}

in_staticgrad = program


{numpy}

arrays = {{
{arrays}
}}
along = {{
{along}
}}
"""
_GRAPH = """n = sg.dim("n", min=4)
values = {
%s
}
outputs = dict(in_staticgrad(**values))
updates = {values[name]: outputs.pop(f"new {name}") for name in %r}
leaves = [values[name] for name in along]
"""
_SLOPES = """slopes = sg.grad(outputs["loss"], leaves, allow_disconnected=True)
outputs["slope"] = sum((s * d).sum() for s, d in zip(slopes, along.values()))
"""
_BENDS = """bends = sg.grad(outputs["slope"], leaves, allow_disconnected=True)
outputs["bend"] = sum((s * d).sum() for s, d in zip(bends, along.values()))
"""
_RUN = """feeds = {name: arrays[name] for name in arrays if name not in %r}
graph = sg.Graph(outputs, updates, inputs=[values[name] for name in feeds])
results = sg.compile(graph).run(feeds)
draws = {name: results[name] for name in %r}


def at(distance):
    moved = {name: arrays[name] + distance * along.get(name, 0) for name in arrays}
    return program(**moved, **draws)


expected = at(0)
for name, value in results.items():
    if name in expected:
        print(name, "is off by", np.max(np.abs(np.asarray(value) - expected[name]), initial=0))
"""
_DIFFERENCES = """h = 1e-4
difference = at(h)["loss"] - at(-h)["loss"]
print("slope", results["slope"], "by differences", difference / (2 * h))
"""
_SECOND = """h = 1e-3
second = at(h)["loss"] - 2 * at(0)["loss"] + at(-h)["loss"]
print("bend", results["bend"], "by differences", second / h**2)
"""


def write_script(program):
    """Return a script that runs a program in both languages and prints how far they are apart."""
    numpy_text, own_text = program.text("np"), program.text("sg")
    kinds, arrays = dict(program.inputs), program.arrays()
    has_slope = program.order and program.leaves and "loss" in program.results()
    along = program.directions() if has_slope else {}
    imports = [
        "import math",
        "import types",
        "",
        "import numpy as np",
        "",
        "import staticgrad as sg",
    ]
    script = _START.format(
        imports="\n".join(imports), rules=_rules(own_text), dtype=program.dtype,
        seed=program.seed % 2**32, meanings=_meanings(numpy_text), staticgrad=own_text.rstrip(),
        numpy=numpy_text.rstrip(), arrays=_lines(arrays), along=_lines(along),
    )  # fmt: skip
    values = []
    for name, kind in kinds.items():
        dtype = program.dtype if kind.dtype == "float" else kind.dtype
        shape = ", ".join(str(size) for size in kind.shape)
        value = f'sg.input("{name}", ({shape}{"," * (len(kind.shape) == 1)}), "{dtype}")'
        if name in program.parameters:
            value = f'sg.parameter("{name}", arrays["{name}"])'
        values.append(f'    "{name}": {value},')
    script += _GRAPH % ("\n".join(values), program.parameters)
    script += _SLOPES * bool(has_slope) + _BENDS * bool(has_slope and program.order > 1)
    script += _RUN % (program.parameters, [name for name, _ in program.draws])
    script += _DIFFERENCES * bool(has_slope) + _SECOND * bool(has_slope and program.order > 1)
    return script


def _lines(arrays):
    return "\n".join(
        f'    "{name}": np.array({a.tolist()!r}, "{a.dtype.name}"),' for name, a in arrays.items()
    )


def _meanings(text):
    """Return the functions of ``by_numpy`` that a text needs, and their common name ``by``."""
    functions = dict(inspect.getmembers(by_numpy, inspect.isfunction))
    names, waiting = [], re.findall(r"\bby\.(\w+)", text)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in names:
            names.append(name)
            waiting += re.findall(r"\b(\w+)\(", inspect.getsource(functions[name]))
    if not names:
        return ""
    sources = [inspect.getsource(functions[name]).rstrip() for name in functions if name in names]
    pairs = ", ".join(f"{name}={name}" for name in sorted(names))
    return "\n\n" + "\n\n\n".join(sources) + f"\n\n\nby = types.SimpleNamespace({pairs})\n"


def _rules(text):
    """Return the functions with rules that a text calls."""
    names = sorted({*re.findall(r"\brules\.(\w+)", text)})
    if not names:
        return ""
    source = inspect.getsource(rules).partition("import staticgrad as sg")[2].strip()
    pairs = ", ".join(f"{name}={name}" for name in names)
    return f"{source}\nrules = types.SimpleNamespace({pairs})\n\n"
