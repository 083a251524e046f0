"""Kernels and schedules written by hand, for tests of the planner and the runtime."""

from staticgrad.language.ir.expr import Access, index, load
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Axis, Check, Map, Operand, Store
from staticgrad.language.ir.schedule import Binding, Buffer, KernelStep, Schedule
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import F32, I64

ALONG_J = (("j", 1),)


def elementwise(formula, inputs, outputs=1):
    """p0..: f32 inputs, then outputs that each hold ``formula`` of the inputs, along one axis."""
    operands = [Operand(f"p{i}", F32, "in") for i in range(inputs)]
    results = [Operand(f"p{inputs + i}", F32, "out") for i in range(outputs)]
    value = formula(*(load(Access(o.name, ALONG_J), F32) for o in operands))
    stores = tuple(Store(Access(o.name, ALONG_J), value) for o in results)
    return Kernel((*operands, *results), ("n0",), (), (Map(Axis("j", "n0"), stores),))


ADD = elementwise(lambda a, b: a + b, 2)
NEGATE = elementwise(lambda a: -a, 1)
COPY = elementwise(lambda a: a, 1)
FORK = elementwise(lambda a: a, 1, outputs=2)
ADD3 = elementwise(lambda a, b, c: a + b + c, 3)


def _take():
    """p2[j] = p0[p1[j]], the index checked against n1 into p3."""
    expected = load(Access("p1", ALONG_J), I64)
    from staticgrad.language.ir.expr import ref

    body = (
        Check("found", expected, "n1", index("j"), "p3"),
        Store(Access("p2", ALONG_J), load(Access("p0", (), (1,)), F32, ref("found", I64))),
    )
    operands = (
        Operand("p0", F32, "in"),
        Operand("p1", I64, "in"),
        Operand("p2", F32, "out"),
        Operand("p3", I64, "check"),
    )
    return Kernel(operands, ("n0", "n1"), (), (Map(Axis("j", "n0"), body),))


TAKE = _take()
N = dim("n")


class Builder:
    """Collects buffers and steps; every buffer holds ``size`` elements."""

    def __init__(self):
        self.buffers = []
        self.steps = []

    def buffer(self, role, size=N, label="", dtype=F32):
        name = f"b{len(self.buffers)}"
        self.buffers.append(Buffer(name, role, dtype, size, label))
        return name

    def step(self, kernel, *buffers, arguments=(N,)):
        bindings = tuple(b if isinstance(b, Binding) else Binding(b) for b in buffers)
        self.steps.append(KernelStep.of(kernel, bindings, arguments))

    def schedule(self, **outputs):
        return Schedule("handmade", tuple(self.buffers), tuple(self.steps), tuple(outputs.items()))
