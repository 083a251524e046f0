"""The table of NumPy's functions: which ones build nodes here, and why the others do not.

``python -m tests.numpy_names`` writes the guide ``numpy``; a test compares it with the code.
"""

import numpy as np

import staticgrad.functions
from staticgrad.errors.hints import MISSING, REASONS
from staticgrad.language.calls.functional import FACTS, NUMPY_NAMES, numpy_function
from staticgrad.tools.documentation.site import GUIDE
from tests.ops import keyword_calls

PAGE = GUIDE / "numpy.md"


def functions_of_numpy():
    """The functions of NumPy's main namespace, classes and dtypes left out."""
    public = ((name, getattr(np, name)) for name in np.__all__)
    return sorted(name for name, f in public if callable(f) and not isinstance(f, type))


def covered_functions():
    """Those that take values: ``np.exp(x)`` builds a node."""
    return [n for n in functions_of_numpy() if n not in FACTS and numpy_function(n) is not None]


def page():
    """``guide/numpy.md`` of the documentation."""
    names, covered = functions_of_numpy(), covered_functions()
    lines = [
        "# NumPy's functions",
        "",
        f"Of the {len(names)} functions in the main namespace of NumPy"
        f" {'.'.join(np.__version__.split('.')[:2])}, {len(covered)} take values: `np.exp(x)`"
        " builds the same node as `sg.exp(x)`. Written by `python -m tests.numpy_names`.",
        "",
        "## Covered",
        "",
        *wrap_names([f"{n} (sg.{NUMPY_NAMES[n]})" if n in NUMPY_NAMES else n for n in covered]),
    ]
    lines += [
        "",
        "Answered at once, without a node: "
        + ", ".join(f"`{name}`" for name in sorted(FACTS))
        + ".",
        "",
        "Beside them: of `np.linalg` what `sg.linalg` has, and under `sg.random` a generator.",
        "",
    ]
    lines += [*parameters(covered), "", "## Missing, and why", ""]
    for reason in MISSING:
        gone = [name for name in names if REASONS.get(name) == reason and name not in covered]
        if gone:
            lines += [f"**{reason[0].upper()}{reason[1:]}.**", "", *wrap_names(gone), ""]
    listed = {*covered, *FACTS, *(name for name in names if REASONS.get(name) in MISSING)}
    lines += ["**Another spelling; the error says which.**", ""]
    lines += wrap_names([name for name in names if name not in listed])
    return "\n".join(lines).rstrip() + "\n"


def parameters(names):
    """Table of the refused values of parameters, by trying the samples of each function."""
    having = {}
    refused = {}
    for name in names:
        for word in keyword_calls.parameters(name):
            having.setdefault(word, set()).add(name)
        for sample in keyword_calls.samples(name):
            headline = keyword_calls.refusal(sample)
            if headline is not None:
                word, value = refused_parameter(sample, headline)
                functions = refused.setdefault(word, {}).setdefault(value, [])
                functions += [name] * (name not in functions)
    lines = [
        "## Parameters",
        "",
        "Each takes every parameter of NumPy's signature, by NumPy's name and in NumPy's place, as",
        '`np.f(x, ...)`, `sg.f(...)` and `x.f(...)`. What would change nothing here (`order="C"`,',
        "`copy`, `subok`) is taken, too. Refused with a code, of all values that the tests try:",
        "",
        "| parameter | values | of |",
        "|---|---|---|",
    ]
    for word in sorted(refused):
        for value, functions in refused[word].items():
            every = having.get(word, set()) <= set(functions)
            of = "all that have it" if every else ", ".join(f"`{n}`" for n in functions)
            if len(functions) > 40 and not every:
                ufuncs = [n for n in functions if isinstance(getattr(np, n), np.ufunc)]
                others = [f"`{n}`" for n in functions if n not in ufuncs]
                of = ", ".join(["ufuncs", *others])
            lines.append(f"| `{word}` | {value} | {of} |")
    return lines


def refused_parameter(sample, headline):
    """The parameter that a refusal names, and its value in words."""
    for word, value in sample.kwargs.items():
        if f"{word}=" in headline or f"{word!r}" in headline:
            plain = isinstance(value, str | bool | int | type(None)) and word != "signature"
            what = {"signature": "a loop", "axes": "any"}.get(word, "an array")
            return word, f"`{value!r}`" if plain else what
    raise AssertionError(f"{sample}: {headline}")


def wrap_names(names):
    """Names in code style, in lines of at most 100 characters."""
    lines = [""]
    for name in names:
        text = (
            f"`{name}`"
            if " " not in name
            else f"`{name.partition(' ')[0]}` {name.partition(' ')[2]}"
        )
        if len(lines[-1]) + len(text) > 96:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{text}"
    return [line + ("," if k < len(lines) - 1 else "") for k, line in enumerate(lines)]


if __name__ == "__main__":
    assert staticgrad.functions
    PAGE.write_text(page(), "utf-8")
