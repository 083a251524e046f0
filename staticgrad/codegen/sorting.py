"""The Sort stage to source: keys and positions collected, a stable merge sort, the stores.

A key of 32 bits shares a word with its position, which makes all words distinct; a wide one has the
position in a word of its own, ``apart`` words later. Where a few are kept, elements behind the last
of them are passed over a vector at a time, and the others collected until there is no more room.
The order is that of (key, position), so no result depends on how it came about.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit
from staticgrad.codegen.merge_sort import merge_sort
from staticgrad.codegen.stages import scope_for, write_store
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import ORDER_ROOM, Sort, keys_apart


def write_sort(kernel: Kernel, stage: Sort, out: Lines, unit: Unit) -> None:
    """The body for one outer iteration: the row's order in the scratch, then what is stored."""
    lanes, p = kernel.lanes, stage.order.scratch
    wide = keys_apart(stage.order.key.dtype)
    keys = Lines()
    scope = scope_for(kernel, [VECTOR], Lines(), keys, unit, lanes)
    scope.emit((stage.order.key,))
    keys.add(f"key = {scope.vector(stage.order.key)}")
    out.extend(scope.before)
    extent = stage.axis.extent
    out.add(f"room = {extent if stage.whole else f'2 * {stage.kept.extent} + {ORDER_ROOM}'}")
    if wide:
        out.add("apart = 2 * room")
    unit.helpers["merge_sort"] = merge_sort(wide)
    if stage.whole:
        _write_collect(out, keys, p, str(extent), lanes, wide)
        out.add(f"found = {_call(p, str(extent), wide)}")
    else:
        _write_rounds(out, keys, stage, lanes, wide)
    _write_stores(kernel, stage, out, scope, wide)


def _call(p: str, count: str, wide: bool) -> str:
    return f"merge_sort({p}, {count}, room{', apart' if wide else ''})"


def _packed(p: str, lanes: int, wide: bool) -> Sequence[str]:
    """Lines that store a vector of keys with their positions at ``j``."""
    if wide:
        return f"store({p}, j, key, m)", f"store({p}, j + apart, iota{lanes}(j), m)"
    return (f"store({p}, j, (cast_i64(key) << 32) | iota{lanes}(j), m)",)


def _write_collect(out: Lines, keys: Lines, p: str, stop: str, lanes: int, wide: bool) -> None:
    """Every key before ``stop``."""
    out.add(f"for {VECTOR} in range(0, {stop}, {lanes}):")
    inner = Lines(out.indent + 1)
    inner.add(f"m = mask{lanes}({stop} - {VECTOR})")
    inner.extend(keys)
    for line in _packed(p, lanes, wide):
        inner.add(line)
    out.lines += inner.lines


def _write_rounds(out: Lines, keys: Lines, stage: Sort, lanes: int, wide: bool) -> None:
    """As much as there is room for, in order; then again with the kept ones and all before them."""
    p, extent, kept = stage.order.scratch, stage.axis.extent, stage.kept.extent
    out.add(f"hits = local_b8({lanes})")
    out.add(f"new = local_i64({lanes})")
    out.add("seen = 0")
    out.add("found = 0")
    out.add(f"while seen < {extent} and {kept} > 0:")
    body = Lines(out.indent + 1)
    body.add("if seen == 0:")
    first = Lines(body.indent + 1)
    first.add("seen = room")
    first.add(f"if seen > {extent}:")
    first.add(f"    seen = {extent}")
    _write_collect(first, keys, p, "seen", lanes, wide)
    first.add("count = seen")
    body.lines += first.lines
    body.add("else:")
    again = Lines(body.indent + 1)
    _write_kept_to_front(again, p, str(kept), lanes, wide)
    _write_passes(again, keys, stage, lanes, wide)
    body.lines += again.lines
    body.add(f"found = {_call(p, 'count', wide)}")
    out.lines += body.lines


def _write_kept_to_front(out: Lines, p: str, kept: str, lanes: int, wide: bool) -> None:
    out.add("if found > 0:")
    out.add(f"    for {VECTOR} in range(0, {kept}, {lanes}):")
    out.add(f"        m = mask{lanes}({kept} - {VECTOR})")
    for at in ("", " + apart") if wide else ("",):
        out.add(f"        store({p}, {VECTOR}{at}, load({p}, found + {VECTOR}{at}, m), m)")


def _write_passes(out: Lines, keys: Lines, stage: Sort, lanes: int, wide: bool) -> None:
    """From where the last round ended: what comes before the last one kept, until room is short."""
    p, extent, kept = stage.order.scratch, stage.axis.extent, stage.kept.extent
    last = f"load1({p}, {kept} - 1)"
    out.add(f"last = splat{lanes}({last if wide else f'cast_i32({last} >> 32)'})")
    out.add(f"count = {kept}")
    out.add(f"for {VECTOR} in range(seen, {extent}, {lanes}):")
    inner = Lines(out.indent + 1)
    inner.add(f"seen = {VECTOR} + {lanes}")
    inner.add(f"m = mask{lanes}({extent} - {VECTOR})")
    inner.extend(keys)
    inner.add("hit = select_mask(m, key < last, False)")
    inner.add("if word(cast_i64(hor(hit))) != 0:")
    inner.add(f"    store{lanes}(hits, 0, hit)")
    word = "key" if wide else f"(cast_i64(key) << 32) | iota{lanes}({VECTOR})"
    inner.add(f"    store{lanes}(new, 0, {word})")
    inner.add(f"    for lane in range(0, {lanes}):")
    inner.add(f"        store1({p}, count, load1(new, lane))")
    if wide:
        inner.add(f"        store1({p}, count + apart, i64x1({VECTOR} + lane))")
    inner.add("        count = count + word(cast_i64(load1(hits, lane)))")
    inner.add(f"    if count > room - {lanes}:")
    inner.add("        break")
    out.lines += inner.lines


def _write_stores(kernel: Kernel, stage: Sort, out: Lines, keys: Scope, wide: bool) -> None:
    """Write the stores of a sort: at each place of the order, with the position of its element."""
    if not stage.stores:
        return
    lanes, name, p = kernel.lanes, stage.order.name, stage.order.scratch
    body = Lines()
    scope = scope_for(kernel, [VECTOR], Lines(), body, keys.unit, lanes)
    scope.vector_refs = frozenset({name})
    for store in stage.stores:
        write_store(scope, store)
    out.extend(scope.before)
    out.add(f"for {VECTOR} in range(0, {stage.kept.extent}, {lanes}):")
    inner = Lines(out.indent + 1)
    inner.add(f"m = mask{lanes}({stage.kept.extent} - {VECTOR})")
    at = f"load({p}, found + {VECTOR}{' + apart' if wide else ''}, m)"
    inner.add(f"{name} = {at if wide else f'{at} & 4294967295'}")
    inner.extend(body)
    out.lines += inner.lines
