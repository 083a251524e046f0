"""The pages of what has a row, of PyTorch, JAX and PyTensor, made of the tables."""

from __future__ import annotations

from inspect import getsource

from staticgrad.bridges.coverage import list_reasons, list_rows, quote_names as quote
from staticgrad.extend import registered_ops
from staticgrad.jax.lax import accuracy, lowering, primitives
from staticgrad.jax.lax.calls import CALLS
from staticgrad.jax.lax.primitives import PRIMITIVES
from staticgrad.onnx import operators as onnx
from staticgrad.pytensor import operators as pytensor
from staticgrad.torch.aten import operators as aten
from staticgrad.torch.aten.operators import OPERATORS
from staticgrad.torch.aten.program import draws_of


def page() -> str:
    """Return the Markdown of the page of ATen operators."""
    rows = list_rows(OPERATORS, "operator | arguments", prefix="aten.")
    random = sorted(name for name, row in OPERATORS.items() if draws_of(row))
    lead = (
        f"The {len(OPERATORS)} operators of ATen that have a row, with the arguments that may be"
        " given; `x` is `self` or `input` there, `y` is `other`. PyTorch decomposes most of its"
        " other functions to these. [How it is used](torch-programs.md)."
    )
    fallback = (
        '`torch.compile(f, backend="staticgrad")` computes them. PyTorch draws the numbers of the'
        f" {len(random)} random ones, so that these are PyTorch's: {quote(random)}; before the"
        " program runs where they depend on sizes alone. It also runs whatever has no row, and a"
        " variant that a row refuses, with one warning."
        f" These {len(OPERATORS.refused)} have no row for a reason:"
    )
    parts = ["# Operators of PyTorch", lead, rows, "## What PyTorch runs", fallback,
             list_reasons(OPERATORS.refused, "operators"), _sizes()]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _sizes() -> str:
    """Return the Markdown section that counts rows and lines of each operator table."""
    tables = (
        ("operators of ONNX", onnx, len(onnx.OPERATORS)),
        ("operators of ATen", aten, len(OPERATORS)),
        ("primitives of JAX, read", primitives, len(PRIMITIVES)),
        ("ops in JAX, written", lowering, len(lowering.ROWS)),
    )
    lines = [
        (what, module, count, len(getsource(module).splitlines())) for what, module, count in tables
    ]
    ops = len(pytensor.OPERATORS) + len(pytensor.SCALARS)
    subjects = sum(len(getsource(module).splitlines()) for module in pytensor.SUBJECTS)
    lines.append(("Ops of PyTensor", pytensor, ops, subjects))
    rows = ["| table | file | rows | lines |", "|---|---|--:|--:|"]
    rows += [
        f"| {what} | `{module.__name__}` | {count} | {n:,} |" for what, module, count, n in lines
    ]
    return "## Sizes of the tables\n\n" + "\n".join(rows)


def page_of_primitives() -> str:
    """Return the Markdown of the page of JAX's primitives."""
    rows = list_rows(PRIMITIVES, "primitive | operands and parameters")
    lead = (
        f"The {len(PRIMITIVES)} primitives of JAX that `sg.jax.trace` computes by a row;"
        f" {len(CALLS)} more call functions: {quote(sorted(CALLS))}. What has no row is an error"
        " with its name and your line. [How it is used](jax-programs.md)."
    )
    parts = [
        "# Primitives of JAX", lead, rows, list_reasons(PRIMITIVES.refused, "primitives"),
        _lowering(), _sizes(),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _lowering() -> str:
    """Return the Markdown section of the ops that ``sg.jax.lower`` writes."""
    ops = [name for name in registered_ops() if "." not in name]
    bodies = (*lowering.BODIES, "custom_vjp", "input", "parameter")
    by_row = [name for name in ops if name in lowering.ROWS or name in bodies]
    refused = [name for name in ops if name in lowering.REFUSED]
    others = [name for name in ops if name not in by_row and name not in refused]
    lead = (
        f"`sg.jax.lower` writes {len(by_row)} ops by a row. {len(others)} are computed by NumPy in"
        f" a callback, with our derivatives: {quote(sorted(others))}. {len(refused)} are refused"
        f" where there are several processes: {quote(sorted(refused))}."
    )
    rows = ["| op | units in the last place | of |", "|---|--:|---|"]
    for name in sorted({*accuracy.UNITS, *accuracy.OF_LARGEST, *accuracy.OF_ONE}):
        units, of = accuracy.bound_of(name)
        rows.append(f"| `{name}` | {units} | {of} |")
    bounds = (
        f"Results differ from those of the evaluator by at most {accuracy.OTHERS} units in the last"
        " place of each element (of the largest one in linear algebra), but for these:"
    )
    return "\n\n".join(["## Ops in JAX", lead, bounds, "\n".join(rows)])


def page_of_ops() -> str:
    """Return the Markdown of the page of PyTensor's Ops."""
    rows = list_rows(pytensor.OPERATORS, "Op | attributes", only_attributes=True)
    lead = (
        f"The {len(pytensor.OPERATORS)} Ops of PyTensor that have a row, by the names of their"
        " classes, with the attributes that a row reads. A class without a row has that of its"
        " nearest base class: `Sum` and `All` are `CAReduce`; an Op that contains a graph, such as"
        " `Einsum`, `KroneckerProduct` or `LogSumExp`, is `OpFromGraph`."
        " [How it is used](pymc.md)."
    )
    scalars = (
        f"{len(pytensor.SCALARS)} scalar Ops have a row, which `Elemwise` applies to elements:"
        f" {quote(sorted(pytensor.SCALARS, key=str.lower))}."
    )
    fallback = (
        'In the mode `"STATICGRAD"` PyTensor computes a node whose Op has no row, or whose row'
        " refuses it, with one warning (but for random draws); `sg.pytensor.function` raises an"
        " error that names the Op and your line. These have no row for a reason. `sparse`,"
        " `typed_list` and `xtensor` are packages; an Op that derives from one of the others, such"
        " as each random variable, has the same reason."
    )
    parts = [
        "# Ops of PyTensor", lead, rows, scalars, "## What PyTensor computes", fallback,
        list_reasons(pytensor.OPERATORS.refused, "Ops"), _sizes(),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"
