"""A text with a bit of everything; ops with odd attributes, many results, failing inference."""

from __future__ import annotations  # fields are named as they are written

from staticgrad.errors import ShapeError
from staticgrad.language.ir.op import Op
from staticgrad.language.types.arrays import ArrayData, TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType


class Everything(Op, name="sample.everything"):
    """Hands its operand on; has an attribute of every kind."""

    count: int
    extent: Size = 1
    flag: bool = False
    dense: bool = True
    scale: float = 1.0
    mode: str = "linear"
    dtype: DType | None = None
    like: TensorType | None = None
    axes: tuple[int, ...] = ()
    nested: tuple[tuple[int, ...], str] = ((), "")
    table: ArrayData | None = None

    def infer(self, x):
        return x


class TopTwo(Op, name="sample.top_two"):
    """Two results: values and positions."""

    def infer(self, x):
        if x.rank != 1:
            raise ShapeError(f"sample.top_two: takes one axis, got {x}")
        return TensorType(x.dtype, (2,)), TensorType(I64, (2,))


class Link(Op, name="sample.link"):
    """Hands its first operand on; takes any number of them."""

    def infer(self, *types):
        return types[0]


class Picky(Op, name="sample.picky"):
    """Refuses an odd ``size`` at construction."""

    size: int = 2

    def __post_init__(self):
        if self.size % 2:
            raise ValueError(f"an even size, not {self.size}")

    def infer(self, x):
        return x


#: A canonical text with a bit of everything.
STEP = """\
staticgrad-ir 1
size batch {min=1, hint=64}
graph step(%x: f32[batch, 4], %"x:0": i64[batch//2]) params(@w: f32[4], @"w/b": f32[]) {
  %0: f32[batch, 4] = mul(%x, @w)   # train.py:8 [a/b]
  %1: f32[batch, 4] ^1 = tanh(%0)   # train.py:9
  %2: f32[3] = constant{value=[1.0, nan, -0.0]}
  %3: f32[] = constant{value=1e-05}
  %4: i64[0, 3] = constant{value=[]}
  %5, %6: f32[2], i64[2] = sample.top_two(%2)
  %7: f32[] = add(@"w/b", %3)
  return loss = %1, "" = %x, "größe" = @w
  update @"w/b" = %7
}
"""
