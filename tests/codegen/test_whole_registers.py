"""Maps of narrow elements take whole registers of them, where nothing has an order."""

import pytest

from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel

MAP = """\
kernel(p0: in {a}, p1: in {b}, p2: out {c}; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: {a} = load p0[{place}]
    %1: {b} = load p1[i0]
{lines}
  }}
}}
"""
LESS = "    %2: bool = lt %0, %1\n    store p2[i0*n1 + j] = %2"
WIDER = "    %2: i16 = cast %0\n    %3: i16 = add %2, %1\n    store p2[i0*n1 + j] = %3"
REST = "    %2: u8 = remainder %0, %1\n    store p2[i0*n1 + j] = %2"
ADD = "    %2: u8 = add %0, %1\n    store p2[i0*n1 + j] = %2"
HERE = "i0*n1 + j"


@pytest.mark.parametrize(
    ("types", "place", "lines", "lanes"),
    [
        (("u8", "u8", "bool"), HERE, LESS, 64),
        (("i16", "i16", "bool"), HERE, LESS, 32),
        (("i8", "i16", "i16"), HERE, WIDER, 32),
        (("f32", "f32", "bool"), HERE, LESS, 16),
        (("u8", "u8", "bool"), "i0*n1 + j*2", LESS, 16),  # not one behind the other
        (("u8", "u8", "bool"), "[i0 + j in n0]*n1", LESS, 16),  # ends
        (("u8", "u8", "u8"), HERE, REST, 16),  # no processor divides them
        (("u8", "u8", "u8"), HERE, f"{ADD}\n    @r0: u8 = sum %2", 16),  # an order
        (("u8", "u8", "u8"), HERE, f"{ADD}\n    @r0: u8 = max %2", 64),  # none
    ],
)
def test_lanes(types, place, lines, lanes):
    assert parse_kernel(kernel_text(types, place, lines)).lanes == lanes


def kernel_text(types, place, lines):
    a, b, c = types
    return MAP.format(a=a, b=b, c=c, place=place, lines=lines)


def test_a_wide_map_is_a_kernel():
    verify_kernel(parse_kernel(kernel_text(("u8", "u8", "bool"), HERE, LESS)))
