"""Kernels with directives: interleaved rows and iterations, strips, groups, limits, prefetches.

No byte depends on a directive: each kernel is run by every reader, its iterations cut anywhere, and
gives what ``kernel_meaning`` says, which is one iteration after the other. What a directive may not
be put on is refused. ``random_kernels`` draws both in other combinations.
"""

import math
from itertools import pairwise

import numpy as np
import pytest

from staticgrad.errors import ParseError, VerifyError
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.types.arrays import aligned_bytes
from tests.codegen.kernel_meaning import Meaning
from tests.codegen.kernel_runs import of_width, run
from tests.exporting.printed import run_printed
from tests.native.support import BY_NUMBA, READERS, assert_same, call, source_for

#: Softmax of rows over two outer loops, its exponentials in a row of scratch; p3: a total of each.
SOFTMAX = """\
kernel(p0: in f32, p1: scratch f32, p2: out f32, p3: out f32, p4: in f32; n0, n1, n2, n3)\
 over i0: n0, i1: n1 {
  map j: n2 {
    %0: f32 = load p0[i0*n3 + i1*n2 + j]
    @r0: f32 = max %0
  }
  map j: n2 {
    %1: f32 = load p0[i0*n3 + i1*n2 + j]
    %2: f32 = sub %1, @r0
    %3: f32 = exp %2
    store p1[j] = %3
    @r1: f32 = sum %3
  }
  scalar {
    store p3[i0*n1 + i1] = @r1
    %4: f32 = div f32(1.0), @r1
    @r2: f32 = keep %4
  }
  map j: n2 {
    %5: f32 = load p1[j]
    %6: f32 = mul %5, @r2
    %7: f32 = load p4[j]
    %8: f32 = mul %6, %7
    store p2[i0*n3 + i1*n2 + j] = %8
  }
}
"""
#: The same in a loop: each iteration has a row of p1; r3 is one number for all iterations.
ITERATIONS = """\
kernel(p0: in f32, p1: scratch f32, p2: out f32, p3: out f32, p4: in f32; n0, n1, n2, n3)\
 over i0: n0 under interleave 2 of i1 in stage 1 {
  map j: n2 {
    %0: f32 = load p4[j]
    @r3: f32 = sum %0
  }
  loop i1: n1 {
    map j: n2 {
      %1: f32 = load p0[i0*n3 + i1*n2 + j]
      @r0: f32 = max %1
    }
    map j: n2 {
      %2: f32 = load p0[i0*n3 + i1*n2 + j]
      %3: f32 = sub %2, @r0
      %4: f32 = exp %3
      store p1[i1*n2 + j] = %4
      @r1: f32 = sum %4
    }
    scalar {
      store p3[i0*n1 + i1] = @r1
      %5: f32 = div @r3, @r1
      @r2: f32 = keep %5
    }
    map j: n2 {
      %6: f32 = load p1[i1*n2 + j]
      %7: f32 = mul %6, @r2
      %8: bool = le j, i1
      %9: f32 = select %8, %7, f32(0.0)
      store p2[i0*n3 + i1*n2 + j] = %9
    }
  }
}
"""
#: Running totals of rows, and beside them two numbers that change places: p2 a total of every
#: iteration.
TOTALS = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0, n1, n2, n3) over i0: n0 {
  loop i1: n1 {
    first {
      @s0: f32 = carry f32(-0.0)
      %0: f32 = load p0[i0*n3]
      @s1: f32 = carry %0
    }
    map j: n2 {
      %1: f32 = load p0[i0*n3 + i1*n2 + j]
      %2: f32 = mul %1, @s1
      store p1[i0*n3 + i1*n2 + j] = %2
      @r0: f32 = sum %2
    }
    scalar {
      %3: f32 = add @s0, @r0
      @r1: f32 = keep %3
      store p2[i0*n1 + i1] = @r1
    }
    following {
      @s0: f32 = carry @s1
      @s1: f32 = carry @r1
    }
  }
}
"""


def loop_of_totals(jammed):
    """The same with a loop in the place of the outer axis, so many of whose iterations are
    jammed."""
    under = f" under interleave {jammed} of i0 in stage 0" if jammed > 1 else ""
    text = TOTALS.replace("over i0: n0", f"over i2: 1{under}")
    return text.replace("  loop i1", "  loop i0: n0 {\n  loop i1") + "}\n"


#: Rows in their own memory, p1, whose scale p2 is changed where it stands; p3: their columns' sums.
IN_PLACE = """\
kernel(p0: in f32, p1: inout f32, p2: inout f32, p3: out f32, p4: scratch f32; n0, n1)\
 over groups of i0: n0 {
  map j: n1 {
    %0: f32 = load p1[i0*n1 + j]
    %1: f32 = load p0[i0*n1 + j]
    %2: f32 = add %0, %1
    @r0: f32 = sum %2
    store p1[i0*n1 + j] = %2
  }
  scalar {
    %3: f32 = load p2[i0]
    %4: f32 = add %3, @r0
    @r1: f32 = keep %4
    store p2[i0] = %4
  }
  map j: n1 {
    %5: f32 = load p1[i0*n1 + j]
    %6: f32 = mul %5, @r1
    column sum %6 to p3 in p4
    store p1[i0*n1 + j] = %6
  }
}
"""
#: A logistic regression: a sum of a row, a function of it, a sum across rows; and what it stores.
LOGISTIC = """\
kernel(p0: in f32, p1: in f32, p2: in f32, p3: out f32, p4: out f32, p5: scratch f32; n0, n1)\
 over groups of i0: n0 under interleave 2, strips, prefetch i0+16 in stage 3 {
  scalar {
    %0: f32 = load p2[i0]
    %1: f32 = exp %0
    @r0: f32 = keep %1
  }
  map j: n1 {
    %2: f32 = load p0[i0*n1 + j]
    %3: f32 = load p1[j]
    %4: f32 = mul %2, %3
    @r1: f32 = sum %4
  }
  scalar {
    %5: f32 = mul @r1, @r0
    %6: f32 = tanh %5
    @r2: f32 = keep %6
    store p3[i0] = %6
  }
  map j: n1 {
    %7: f32 = load p0[i0*n1 + j]
    %8: f32 = mul %7, @r2
    %9: f32 = mul %8, @r0
    column sum %9 to p4 in p5
  }
}
"""
#: p1 = the row without its mean; p2, p4: partials of the columns' sums and of their greatest.
CENTRED = """\
kernel(p0: in f32, p1: out f32, p2: out f32, p3: scratch f32, p4: out f32, p5: scratch f32; n0, n1)\
 over groups of i0: n0 {
  map j: n1 {
    %0: f32 = load p0[i0*n1 + j]
    @r0: f32 = sum %0
  }
  scalar {
    %1: f32 = cast n1
    %2: f32 = div @r0, %1
    @r1: f32 = keep %2
  }
  map j: n1 {
    %3: f32 = load p0[i0*n1 + j]
    %4: f32 = sub %3, @r1
    store p1[i0*n1 + j] = %4
    column sum %4 to p2 in p3
    column max %4 to p4 in p5
  }
}
"""
COLUMNS = """\
kernel(p0: in f32, p1: out f32; n0, n1) {
  columns j: n0 {
    rows i0: n1 {
      %0: f32 = load p0[i0*n0 + j]
      %1: f32 = mul %0, %0
      @r0: f32 = sum %1
    }
    store p1[j] = @r0
  }
}
"""
FRAMED = """\
kernel(p0: in f32, p1: in f32, p2: out f32; n0, n1, n2) {
  columns j: n0 {
    lanes i0: n1 {
      %0: f32 = load p0[i0*n0 + j]
      %1: f32 = load p1[[i0 + -1 in n2]]
      %2: f32 = mul %0, %1
      @r0: f32 = sum %2
    }
    store p2[j] = @r0
  }
}
"""


def multiples(count):
    """Sums of x, 2 x, 3 x ...; the second is not a sum, but the largest."""
    outs = "".join(f"p{n + 1}: out f32, " for n in range(count))[:-2]
    lines = ["      %0: f32 = load p0[i0*n0 + j]"]
    for n in range(count):
        lines += [f"      %{n}: f32 = add %{n - 1}, %0"] if n else []
        lines.append(f"      @r{n}: f32 = {'max' if n == 1 else 'sum'} %{n}")
    stores = "".join(f"    store p{n + 1}[j] = @r{n}\n" for n in range(count))
    rows = "\n".join(lines)
    return (
        f"kernel(p0: in f32, {outs}; n0, n1) {{\n  columns j: n0 {{\n    rows i0: n1 {{\n"
        f"{rows}\n    }}\n{stores}  }}\n}}\n"
    )


AHEAD = """\
kernel(p0: in f32, p1: inout f32, p2: in f64, p3: scratch f32, p4: in i64; n0, n1, n2)\
 over i0: n0 under prefetch j+512 in stage 0 {
  map j: n1 {
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = load p1[i0*n1 + j]
    %2: f32 = add %0, %1
    %3: f64 = load p2[j]
    %4: f32 = cast %3
    %5: f32 = mul %2, %4
    %6: i64 = load p4[j*n2]
    %7: f32 = cast %6
    %8: f32 = mul %5, %7
    store p3[j] = %8
    store p1[i0*n1 + j] = %8
  }
}
"""
LONG = "".join(f"    %{k}: f32 = mul %{k - 1}, %{k - 1}\n" for k in range(2, 40))
MAPPED = f"""\
kernel(p0: in f32, p1: out f32, p2: in f32; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = mul %0, %0
{LONG}    %40: f32 = load p2[j]
    %41: f32 = mul %39, %40
    store p1[i0*n1 + j] = %41
  }}
}}
"""
STREAMED = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0, n1) over i0: n0\
 under prefetch j+512 in stage 0, stream p1 {
  map j: n1 {
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = mul %0, %0
    store p1[i0*n1 + j] = %1
    store p2[i0*n1 + j] = %0
  }
}
"""
STREAM = "store p1[i0*n1 + j] = %1"
#: p4 = p2 at the columns of p0, times p3.
TAKE = """\
kernel(p0: in i64, p1: check i64, p2: in f32, p3: in f32, p4: out f32; n0, n1, n2, n3)\
 over i0: n0 {
  map j: n1 {
    %0: i64 = load p0[j]
    @c0: i64 = check %0 in n2 wrap at j to p1
    %2: f32 = load p2[i0*n3 + @c0*2]
    %3: f32 = load p3[i0*n1 + j]
    %4: f32 = mul %2, %3
    store p4[i0*n1 + j] = %4
  }
}
"""
#: Of tile i1 of each matrix: two rows at most, products of positions from @r2 to @r1, rows that
#: end there, a total of each.
TILES = """\
kernel(p0: in f32, p1: in f32, p2: inout f32, p3: inout f32, p4: in i64; n0, n1, n2, n3)\
 over i0: 1 under interleave 2 of i2 in stage 3 {
  loop i1: n1 {
    scalar {
      %0: i64 = load p4[i0*n1 + i1]
      @r1: i64 = keep %0
      %1: i64 = mul i1, i64(2)
      %2: i64 = sub n2, %1
      @r0: i64 = keep %2
      %3: i64 = sub %0, i64(5)
      @r2: i64 = keep %3
    }
    gemm i: 2 to @r0, j: n3, k: n3 from @r2 to @r1 {
      @acc: f32 = sum p0[k + [i1*2 + i within n2]*n3] * p1[k*n3 + j]
      store p2[j + [i1*2 + i within n2]*n3] += @acc
    }
    loop i2: 2 to @r0 {
      map j: n3 to @r1 {
        %4: f32 = load p2[j + [i1*2 + i2 within n2]*n3]
        @r3: f32 = sum %4
      }
      scalar {
        store p3[[i1*2 + i2 within n2]] = @r3
      }
    }
  }
}
"""
GOING = """\
kernel(p0: in f32, p1: out f32, p2: out i64; n0, n1) over i0: n0 {
  loop i1: n1 while @s2 {
    first {
      %0: f32 = load p0[i0]
      @s0: f32 = carry %0
      @s1: i64 = carry i64(0)
      %1: bool = lt %0, f32(100.0)
      @s2: bool = carry %1
    }
    scalar {
      %2: f32 = mul @s0, f32(3.0)
      @r0: f32 = keep %2
      %3: bool = lt %2, f32(100.0)
      @r1: bool = keep %3
      %4: i64 = add i1, i64(1)
      @r2: i64 = keep %4
    }
    following {
      @s0: f32 = carry @r0
      @s1: i64 = carry @r2
      @s2: bool = carry @r1
    }
  }
  scalar {
    store p1[i0] = @s0
    store p2[i0] = @s1
  }
}
"""
COMPARED = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0, n1) over i0: n0 under interleave 4 {
  map j: n1 {
    %0: i64 = mul i0, i64(13)
    %1: i64 = sub %0, i64(20)
    %2: bool = le j, %1
    %3: f32 = load p0[i0*n1 + j]
    %4: f32 = select %2, %3, f32(-0.5)
    store p1[i0*n1 + j] = %4
    @r0: f32 = max %4
  }
  scalar {
    store p2[i0] = @r0
  }
}
"""

NESTED_GROUPS = """\
kernel(p0: in f32, p1: out f32, p2: scratch f32; n0, n1, n2, n3) over i0: n0, groups of i1: n1 {
  map j: n2 {
    %0: f32 = load p0[i0*n3 + i1*n2 + j]
    column sum %0 to p1 in p2
  }
}
"""
STORE = "store p2[i0] ="
#: Kernel, changes of its text that leave its meaning, and sizes.
RUNS = [
    (
        "softmax",
        SOFTMAX,
        ["", *(f"i1: n1 {{ > i1: n1 under interleave {k} {{" for k in (2, 3))],
        [(3, 5, 37, 185)],
    ),
    (
        "loop of softmax",
        ITERATIONS,
        [
            " under interleave 2 of i1 in stage 1 > ",
            "",
            *(f"interleave 2 > interleave {k}" for k in (3, 8)),
        ],
        [(3, 5, 37, 185)],
    ),
    (
        "totals",
        TOTALS,
        ["", *(f"i0: n0 {{ > i0: n0 under interleave {k} {{" for k in (2, 3, 8))],
        [(11, 4, 19, 76)],
    ),
    *((f"loop of totals by {k}", loop_of_totals(k), [""], [(11, 4, 19, 76)]) for k in (1, 2, 3, 8)),
    *(
        (
            f"rows in place{more}",
            text,
            ["", *(f"i0: n0 {{ > i0: n0 under interleave {k} {{" for k in (2, 3, 4))],
            [(rows, 18) for rows in (1, 2, 3, 5, 7, 33)],
        )
        for more, text in (("", IN_PLACE), (", added", IN_PLACE.replace(STORE, "store p2[i0] +=")))
    ),
    (
        "logistic",
        LOGISTIC,
        [
            "",
            "interleave 2, strips,  > ",
            "interleave 2,  > ",
            "interleave 2 > interleave 4",
            "interleave 2 > interleave 3",
        ],
        [(1, 18), (15, 16), (33, 5), (70, 40)],
    ),
    ("centred", CENTRED, [""], [(1, 3), (31, 16), (33, 5), (70, 33), (1100, 5)]),
    ("groups of each outer axis", NESTED_GROUPS, [""], [(3, 70, 18, 1260)]),
    (
        "columns",
        COLUMNS,
        ["", "= sum > = max", "load p0[i0*n0 + j] > load p0[i0]"],
        [(300, 70), (128, 1), (47, 1100), (33, 0), (0, 3)],
    ),
    ("sums together", multiples(14), [""], [(47, 1100), (33, 0)]),
    ("rows of a lane", FRAMED, [""], [(32, 150, 120)]),
    ("ahead", AHEAD, ["", "prefetch j+512 > prefetch i0+2"], [(7, 37, 1), (3, 0, 1)]),
    ("long rows ahead", MAPPED, [""], [(7, 37), (2, 4099), (3, 0)]),
    ("streamed", STREAMED, ["", ", stream p1 > "], [(3, 5), (3, 96)]),
    ("look-ups", TAKE, [""], [(rows, 37, 7, 14) for rows in (1, 4, 5, 11)]),
    ("tiles", TILES, [""], [(1, 2, 3, 7), (1, 2, 4, 40), (1, 3, 5, 33)]),
    ("going", GOING, [""], [(5, 0), (5, 2), (5, 50)]),
    *(
        (
            f"positions {compare} {order}",
            COMPARED,
            [f"le j, %1 > {compare} {order}"],
            [(7, 1), (7, 16), (7, 60)],
        )
        for compare in ("lt", "le", "gt", "ge")
        for order in ("j, %1", "%1, j")
    ),
]


def apply_change(text, change):
    """The kernel with one text put in place of another, "old > new"; it is sound and reads back."""
    old, _, new = change.partition(" > ")
    assert old in text
    kernel = parse_kernel(text.replace(old, new) if change else text)
    verify_kernel(kernel)
    assert parse_kernel(str(kernel)) == kernel
    return kernel


def memory_for(kernel, sizes, seed):
    """Numbers for every operand; integers reach a little beyond what they are indices of."""
    rng, arrays = np.random.default_rng(seed), {}
    count = 4 * math.prod(max(size, 1) for size in sizes[:3]) + 4 * sum(sizes) + 64
    room = kernel.room(sizes)
    for operand in kernel.operands:
        dtype = operand.dtype.numpy
        if operand.mode == "check":
            arrays[operand.name] = np.array([-1, 0])
        elif dtype.kind in "iu":
            arrays[operand.name] = rng.integers(-4, max(sizes[-2] + 2, 5), count).astype(dtype)
        else:
            numbers = rng.normal(size=max(count, int(room.get(operand.name, 0))))
            arrays[operand.name] = numbers.astype(dtype)
    return arrays


def check_run(kernel, sizes, mode, bits=None):
    """All that a kernel writes, its iterations in several calls, beside its meaning."""
    actual, expected = (memory_for(kernel, sizes, len(sizes) + sizes[0]) for _ in range(2))
    Meaning(kernel, expected, dict(zip(kernel.arguments, sizes, strict=True))).run()
    shared = [actual[o.name] for o in kernel.operands if not o.is_own]
    private = [actual[o.name] for o in kernel.operands if o.is_own]
    count = kernel.iterations(sizes)
    cuts = sorted({0, count // 3, count // 2, count})
    if mode == "file":
        cuts = []
        run_printed(kernel, actual, dict(zip(kernel.arguments, sizes, strict=True)))
    for begin, end in pairwise(cuts):
        source = source_for(kernel, mode, of_width(bits))
        call(source, shared, sizes, begin, end, private=private, mode=mode)
    for operand in kernel.operands:
        if operand.mode in ("out", "inout", "check"):
            what = f"{operand.name} at {sizes} by {mode}\n{kernel}"
            assert_same(actual[operand.name], expected[operand.name], what)


def runs():
    for name, text, changes, sizes in RUNS:
        for change in changes:
            for mode in READERS:
                marks = pytest.mark.exhaustive if mode in BY_NUMBA else ()
                yield pytest.param(
                    text, change, sizes, mode, id=f"{name}, {change}, {mode}", marks=marks
                )


@pytest.mark.parametrize(("text", "change", "every", "mode"), [*runs()])
def test_no_byte_depends_on_a_directive(text, change, every, mode):
    kernel = apply_change(text, change)
    for sizes in every if mode == "vector" else every[: 1 if mode in BY_NUMBA else 2]:
        check_run(kernel, sizes, mode)
    if mode == "vector":
        check_run(kernel, every[-1], mode, 256)


# -- what is refused -------------------------------------------------------------------------------

BY_2 = SOFTMAX.replace("i1: n1 {", "i1: n1 under interleave 2 {")
CARRIED = ITERATIONS.replace(
    "      store p2[i0*n3 + i1*n2 + j] = %9\n    }\n",
    "      store p2[i0*n3 + i1*n2 + j] = %9\n    }\n"
    "    following {\n      @s0: f32 = carry @r3\n    }\n",
)
LATE = TILES.replace(
    "      map j: n3 to @r1 {",
    "      scalar {\n        %9: i64 = add i2, i64(1)\n        @r5: i64 = keep %9\n      }\n"
    "      map j: n3 to @r5 {",
)
COLUMNED = ITERATIONS.replace(
    "      %1: f32 = load p0[i0*n3 + i1*n2 + j]\n      @r0: f32 = max %1\n",
    "      rows {\n        %1: f32 = load p0[i0*n3 + i1*n2 + j]\n"
    "        @r0: f32 = max %1\n      }\n      store p3[i0*n1 + j] = @r0\n",
).replace(", @r0", ", @r3")
FIRST = "  loop i1: n1 {\n    first {\n      @s0: f32 = carry @r3\n    }\n"
WHOLE = "only whole vectors of results are streamed"
RESULT = "no result of this name"
STORED = "where others store"
ONE = "store to one element"
LIMIT = "is not an i64 that was kept"
ELSEWHERE = "ends elsewhere in each"
TRUTH = "continues by a value that is not one of its bool carries"
#: Text, a change, and what the error says.
REFUSED = [
    (BY_2, "interleave 2", "interleave 0", "0 interleaved rows"),
    (BY_2, "interleave 2", "interleave 17", "17 interleaved rows"),
    (BY_2, "interleave 2", "interleave 2, interleave 4", "given twice"),
    (BY_2, "interleave 2", "interleave 2 of i7", "there is no such axis"),
    (BY_2, "interleave 2", "interleave 2 of j in stage 4", "there is no such stage"),
    (BY_2, "interleave 2", "wait", "a directive"),
    (BY_2, "kernel(", "serial kernel(", "run in their order"),
    (BY_2, "store p2[i0*n3 + i1*n2 + j]", "store p2[i1*n2 + j]", ONE),
    (BY_2, "store p1[j]", "store p1[i1*n2 + j]", ONE),
    (BY_2, "%5: f32 = load p1[j]", "%5: f32 = load p1[i1*n2 + j]", STORED),
    (BY_2, "%7: f32 = load p4[j]", "%7: f32 = load p2[j]", STORED),
    (ITERATIONS, "interleave 2", "interleave 0", "0 interleaved iterations of i1"),
    (ITERATIONS, "interleave 2", "interleave 17", "17 interleaved iterations of i1"),
    (ITERATIONS, "under ", "under interleave 2, ", "iterations of its loops are interleaved"),
    (ITERATIONS, "store p2[i0*n3 + i1*n2 + j]", "store p2[i0*n3 + j]", ONE),
    (ITERATIONS, "store p1[i1*n2 + j]", "store p1[j]", ONE),
    (ITERATIONS, "%6: f32 = load p1[i1*n2 + j]", "%6: f32 = load p1[j]", STORED),
    (COLUMNED, "map j: n2 {\n      rows", "columns j: n2 {\n      rows", "are not interleaved"),
    (CARRIED, "  loop i1: n1 {\n", FIRST, "waits for the one before"),
    (loop_of_totals(2), "stage 0", "stage 0, interleave 2 of i1 in stage 1", "inside interleaved"),
    (loop_of_totals(2), "store p2[i0*n1 + i1]", "store p2[i1]", ONE),
    (loop_of_totals(2), "load p0[i0*n3 + i1*n2 + j]", "load p1[i1*n2 + j]", STORED),
    (LOGISTIC, "groups of i0: n0", "groups of i0: n0, i1: n1", ""),  # rows of two loops
    (LOGISTIC, "store p3[i0] = %6", "store p3[i0] += %6", ""),
    (LOGISTIC, "column sum %9 to p4 in p5", "store p5[j] = %9\n    column sum %9 to p4 in p5", ""),
    (CENTRED, "groups of i0", "i0", ""),  # a column without groups
    (CENTRED, "to p2 in p3", "to p3 in p2", ""),
    (CENTRED, "to p2 in p3", "to p1 in p3", ""),
    (CENTRED, "to p2 in p3", "to p2 in p5", ""),
    (CENTRED, "p2: out f32", "p2: out f64", ""),
    (CENTRED, "p3: scratch f32", "p3: out f32", ""),
    (CENTRED, "p3: scratch f32", "p3: scratch f64", "not all f32"),
    (CENTRED, "column sum %4", "column product %4", ""),
    (CENTRED, "    column max %4 to p4 in p5\n", "    store p2[j] = %4\n", ""),
    (CENTRED, "  map j: n1 {\n    %3", "  scalar {\n    %3", ""),
    (CENTRED, "@r1: f32 = keep %2", "@r1: f32 = sum %2", ""),
    (CENTRED, "kernel(", "serial kernel(", ""),
    (AHEAD, "j+512", "j+0", "one iteration at least"),
    (AHEAD, "j+512", "j+1048577", "1048576 at most"),
    (AHEAD, "j+512", "i1+4", "no such axis"),
    (STREAMED, STREAM, "store p1[i0*n1 + j*n0] = %1", WHOLE),
    (STREAMED, STREAM, "store p1[i0*n1 + [j in n1]] = %1", WHOLE),
    (STREAMED.replace("p1: out", "p1: inout"), STREAM, "store p1[i0*n1 + j] += %1", RESULT),
    (STREAMED, "p1: out", "p1: scratch", RESULT),
    (STREAMED, "stream p1", "stream p0", RESULT),
    (
        STREAMED.replace("p1: out f32", "p1: out bool"),
        STREAM,
        "%2: bool = lt %0, %1\n    store p1[i0*n1 + j] = %2",
        WHOLE,
    ),
    (TILES, "map j: n3 to @r1", "map j: n3 from @r1", "has no numbers from which or to which"),
    (TILES, "loop i1: n1 {", "loop i1: n1 to @r3 {", LIMIT),
    (TILES, "map j: n3 to @r1", "map j: n3 to @r3", LIMIT),
    (TILES, "2 of i2 in stage 3", "2", ELSEWHERE),
    (LATE, "to @r5", "to @r5", ELSEWHERE),
    (GOING, "while @s2", "while @s1", TRUTH),
    (GOING, "while @s2", "while @r1", TRUTH),
    (GOING, "i0: n0 {", "i0: n0 under interleave 2 of i1 {", "waits for the one before"),
    (GOING, "i0: n0 {", "i0: n0 under interleave 2 {", "goes on by what each row carries"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "old", "new", "says"), REFUSED)
def test_what_would_give_other_bytes_is_refused(text, old, new, says):
    assert old in text
    with pytest.raises((VerifyError, ParseError), match=says or None):
        verify_kernel(parse_kernel(text.replace(old, new)))


# -- sources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", READERS)
@pytest.mark.parametrize("length", [16, 40])
def test_results_are_streamed_wherever_they_begin(length, mode):
    """With a line of memory, or one element behind."""
    values = np.random.default_rng(3).normal(size=3 * length).astype("f")
    for first in (0, 1):
        room = {
            p: aligned_bytes(4 * (values.size + first)).view("f4")[first:] for p in ("p1", "p2")
        }
        actual = run(parse_kernel(STREAMED), (3, length), mode, {"p0": values, **room})
        assert bytes(actual["p1"]) == bytes(values * values)


def test_numbers_from_memory_are_compared_in_full():
    """One that words cannot count on from, as the largest, is not an end of a mask."""
    text = COMPARED.replace("p0: in f32,", "p0: in f32, p3: in i64,").replace(
        "%0: i64 = mul i0, i64(13)\n    %1: i64 = sub %0, i64(20)", "%1: i64 = load p3[i0]"
    )
    numbers = np.array([2**63 - 1, -(2**63), 0, -1, 5, 17, 18])
    values, room = np.ones((7, 18), "f"), {"p1": np.empty(126, "f"), "p2": np.empty(7, "f")}
    kernel = parse_kernel(str(parse_kernel(text)))
    actual = run(kernel, (7, 18), "vector", {"p0": values, "p3": numbers, **room})
    expected = np.where(np.arange(18) <= numbers[:, None], values, np.float32(-0.5))
    np.testing.assert_array_equal(actual["p1"].reshape(expected.shape), expected)
