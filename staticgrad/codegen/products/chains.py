"""Chains of a product among stages: a function of a few rows and a panel, which kernels share.

Both factors are read where they lie. The kernels of attention have four such products; written into
them, the chains were a quarter of their lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.codegen.expressions import VECTOR, Lines, number, scaled, total
from staticgrad.codegen.products.steps import flat_step, steps_of
from staticgrad.codegen.products.trips import is_fresh
from staticgrad.codegen.stages import base_text
from staticgrad.ir.kernels.stages import small

if TYPE_CHECKING:
    from staticgrad.codegen.products.looped import LoopedProduct

#: Names of the function's arguments, which are words but for the first three. ``a``, ``b`` and
#: ``c`` begin at ``at``, ``down`` and ``to``. Rows of a are ``row`` apart, the ``last`` is
#: repeated; its steps of k are ``inner`` apart, those of b ``step``, of which ``wide`` columns are
#: read. ``c`` goes on unless ``fresh``, by ``depth`` steps of k.
ARGUMENTS: Final = (
    "a",
    "b",
    "c",
    "at",
    "row",
    "inner",
    "last",
    "down",
    "step",
    "wide",
    "to",
    "depth",
    "fresh",
)


def are_shared(product: LoopedProduct) -> bool:
    """Whether chains are a function: rows begin, and inner indices move, by numbers."""
    rows = product.stage.i
    if product.a_stored.is_storage or not product.reads_panel or product.packs_rows:
        return False
    if len(rows) > 1 or small(rows):
        return False
    return None not in _steps(product)


def _steps(product: LoopedProduct) -> list[str | int | None]:
    """How far an inner index moves each factor."""
    stage = product.stage
    return [flat_step(steps_of(f, product.inner), stage.k) for f in (stage.a, stage.b)]


def write_call(out: Lines, product: LoopedProduct) -> None:
    """The chains of a tile of rows, from ``depth`` to ``end``."""
    w, stage, axis = product.name, product.stage, product.stage.i[0].name
    inner, step = (scale or 0 for scale in _steps(product))
    a, b = (base_text(f, frozenset({VECTOR, *product.inner})) for f in (stage.a, stage.b))
    named = {
        "a": stage.a.operand,
        "b": stage.b.operand,
        "c": f"{w}_tile",
        "at": total(a, scaled(f"{w}_depth", inner)),
        "row": str(stage.a.stride(axis)),
        "inner": str(inner),
        "last": f"{w}_m - 1 - {w}_top",
        "down": total(b, scaled(f"{w}_depth", step), f"{w}_left"),
        "step": str(step),
        "wide": f"{w}_past - {w}_left",
        "to": f"{w}_into + ({w}_top - {w}_first) * {product.columns}",
        "depth": f"{w}_end - {w}_depth",
        "fresh": is_fresh(product),
    }
    out.add(f"{axis} = {w}_top")
    out.add(f"{_function(product)}({', '.join(named[name] for name in ARGUMENTS)})")


def _function(product: LoopedProduct) -> str:
    """The name of the function; written on first use."""
    helpers, vectors = product.unit.helpers, product.columns // product.lanes
    name = f"shared_chains{product.rows}x{vectors}_{product.element}"
    if name not in helpers:
        head = f"def {name}({', '.join(ARGUMENTS)}):"
        helpers[name] = "\n".join([head, *_lines(product, vectors).lines])
    return name


def _lines(product: LoopedProduct, vectors: int) -> Lines:
    out, lanes, floating = Lines(1), product.lanes, product.dtype.is_float
    cells = {
        f"c{r}_{v}": total("to", str(r * product.columns + v * lanes))
        for r in range(product.rows)
        for v in range(vectors)
    }
    for r in range(product.rows):
        out.add(f"a{r} = at + ({r} if last > {r} else last) * row" if r else "a0 = at")
    for v in range(vectors):
        out.add(f"on{v} = mask{lanes}({f'wide - {v * lanes}' if v else 'wide'})")
    zero = f"{product.element}x{lanes}({number(0.0 if floating else 0)})"
    out.add("if fresh == 1:")
    for cell in cells:
        out.add(f"    {cell} = {zero}")
    out.add("else:")
    for cell, place in cells.items():
        out.add(f"    {cell} = load{lanes}(c, {place})")
    out.add("for k in range(0, depth):")
    for v in range(vectors):
        out.add(f"    b{v} = load(b, {total('down', 'k * step', str(v * lanes))}, on{v})")
    for r in range(product.rows):
        out.add(f"    x = splat{lanes}(load1(a, a{r} + k * inner))")
        for v in range(vectors):
            cell = f"c{r}_{v}"
            both = f"fma(x, b{v}, {cell})" if floating else f"{cell} + x * b{v}"
            out.add(f"    {cell} = {both}")
    for cell, place in cells.items():
        out.add(f"store{lanes}(c, {place}, {cell})")
    return out
