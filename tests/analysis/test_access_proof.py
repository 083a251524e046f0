"""The second proof of accesses: right programs pass, faults are found, each by its words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.access_proof import prove_plan
from staticgrad.analysis.access_proof.kernels import AccessFaultError, prove_kernel
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.parser import parse_kernel
from tests.analysis.access_programs import PROGRAMS, SIZES

#: What the proof of a right program may leave open: no record says it.
OPEN = ("is a routine of a library", "its index tells its row", "only the ends of accesses")


@pytest.mark.parametrize("name", PROGRAMS)
def test_accesses_of_programs_are_proved(name):
    graph = PROGRAMS[name]()
    with sg.options(jit=False):
        f = sg.compile(graph)
        for n in SIZES if graph.sizes else (None,):
            proof = prove_plan(f.plan(n=n) if graph.sizes else f.plan())
            assert proof.kernels
            assert proof.accesses
            assert all(reason.endswith(OPEN) or OPEN[2] in reason for reason in proof.unproved)


def prove(text, rooms, *arguments, offsets=None, constants=None):
    """Prove a kernel whose operands p0, p1, ... have so many elements."""
    names = [f"p{number}" for number in range(len(rooms))]
    return prove_kernel(
        parse_kernel(text),
        arguments,
        dict(zip(names, rooms, strict=True)),
        dict(zip(names, offsets or [0] * len(rooms), strict=True)),
        constants or {},
        1 << 16,
    )


COPY = """
kernel(p0: in f64, p1: out f64; n0) {{
  map j: n0 {{
    %0: f64 = load p0[{}]
    store p1[{}] = %0
  }}
}}
"""
ROWS = """
kernel(p0: in f64, p1: scratch f64, p2: out f64; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: f64 = load p0[i0*n1 + j]
    store p1[{}] = %0
  }}
  map j: n1 {{
    %1: f64 = load p1[{}]
    store p2[{}] = %1
  }}
}}
"""
BACKWARDS = """
kernel(p0: in f64, p1: scratch f64, p2: out f64; n0, n1) {{
  loop i0: n0 {{
    scalar {{
      %0: f64 = load p0[i0]
      store p1[[i0*-1 + n1]] = %0
    }}
  }}
  map j: n0 {{
    %1: f64 = load p1[j]
    store p2[j] = %1
  }}
}}
"""


def test_what_a_copy_reads_and_writes():
    proof = prove(COPY.format("j*2", "j"), (9, 5), 5)
    assert proof.iterations == 5
    assert proof.operands["p0"].needed.tolist() == [0, 2, 4, 6, 8]
    assert proof.operands["p1"].written.tolist() == [0, 1, 2, 3, 4]
    assert not proof.unproved


def test_elements_are_counted_from_the_begin_of_a_buffer():
    proof = prove(COPY.format("j*-1", "j"), (7, 5), 5, offsets=(6, 0))
    assert proof.operands["p0"].needed.tolist() == [2, 3, 4, 5, 6]
    with pytest.raises(AccessFaultError, match="reads element -1, there are 7"):
        prove(COPY.format("j*-1", "j"), (7, 5), 5, offsets=(3, 0))


def test_positions_outside_of_their_ends_touch_nothing():
    proof = prove(COPY.format("[j + -2 in n0]", "[j*2 in n0]"), (5, 5), 5)
    assert proof.operands["p0"].needed.tolist() == [0, 1, 2]
    assert proof.operands["p1"].written.tolist() == [0, 2, 4]


def test_reversed_scratch_needs_all_its_elements():
    assert prove(BACKWARDS.format(), (6, 6, 6), 6, 5).operands["p2"].written.size == 6
    with pytest.raises(AccessFaultError, match=r"writes element 5, there are 1"):
        prove(BACKWARDS.format(), (6, 1, 6), 6, 5)


@pytest.mark.parametrize(
    ("text", "rooms", "arguments", "words"),
    [
        (COPY.format("j", "j"), (4, 5), (5,), "reads element 4, there are 4"),
        (COPY.format("j", "j"), (5, 4), (5,), "writes element 4, there are 4"),
        (COPY.format("j", "j*2"), (5, 8), (5,), "writes element 8, there are 8"),
        (COPY.format("[j + 1 within n0]", "j"), (9, 5), (5,), "leaves its ends"),
        (ROWS.format("j", "j + [1]", "i0*n1 + j"), (6, 4, 6), (2, 3), "has not written before"),
        (ROWS.format("j*2", "j", "i0*n1 + j"), (6, 5, 6), (2, 3), "has not written before"),
        (ROWS.format("j", "j", "i0*n0 + j"), (6, 3, 6), (2, 3), "both write element 2"),
        (ROWS.format("j", "j", "j"), (6, 3, 6), (2, 3), "both write element 0"),
        (ROWS.format("i0*n1 + j", "j", "i0*n1 + j"), (6, 6, 6), (2, 3), "has not written before"),
    ],
)  # fmt: skip
def test_faults_of_kernels(text, rooms, arguments, words):
    with pytest.raises(AccessFaultError, match=words):
        prove(text, rooms, *arguments)


def test_a_lane_may_not_write_what_another_one_reads():
    shift = """
kernel(p0: inout f64; n0) {
  loop i0: n0 {
    map j: n0 {
      %0: f64 = load p0[j + [1]]
      store p0[j] = %0
    }
  }
}
"""
    with pytest.raises(AccessFaultError, match="a lane reads what another one writes"):
        prove(shift, (6,), 5)


def test_rows_may_not_read_what_other_rows_write():
    text = """
kernel(p0: in f64, p1: out f64, p2: out f64; n0) over i0: n0 {
  scalar {
    %0: f64 = load p0[i0]
    store p1[i0] = %0
  }
  scalar {
    %1: f64 = load p1[[i0*-1 + 3]]
    store p2[i0] = %1
  }
}
"""
    with pytest.raises(AccessFaultError, match="of another row"):
        prove(text, (4, 4, 4), 4)


def test_indices_are_as_large_as_their_check_or_their_constant_allows():
    take = """
kernel(p0: in f64, p1: in i64, p2: out f64, p3: check i64; n0, n1) {
  map j: n0 {
    %0: i64 = load p1[j]
    @c0: i64 = check %0 in n1 wrap at j to p3
    %1: f64 = load p0[@c0*2]
    store p2[j] = %1
  }
}
"""
    assert prove(take, (7, 3, 3, 2), 3, 4).operands["p0"].needed.tolist() == [*range(7)]
    with pytest.raises(AccessFaultError, match="reads element 6, there are 6"):
        prove(take, (6, 3, 3, 2), 3, 4)
    constants = {"p1": np.array([0, -1, 1])}
    proof = prove(take, (7, 3, 3, 2), 3, 4, constants=constants)
    assert proof.operands["p0"].needed.tolist() == [0, 2, 6]


def test_a_loop_of_unknown_length_is_proved_at_both_ends():
    text = """
kernel(p0: in i64, p1: scratch f64, p2: out f64; n0) {{
  scalar {{
    %0: i64 = load p0[0]
    @r0: i64 = keep %0
  }}
  loop i0: n0 to @r0 {{
    scalar {{
      store p1[i0] = f64(1.0)
    }}
  }}
  loop i1: n0{} {{
    scalar {{
      %1: f64 = load p1[i1]
      store p2[i1] = %1
    }}
  }}
}}
"""
    assert prove(text.format(" to @r0"), (1, 4, 4), 4).operands["p2"].written.size == 0
    with pytest.raises(AccessFaultError, match="has not written before"):
        prove(text.format(""), (1, 4, 4), 4)


def test_results_over_operands_are_read_before_they_are_written(monkeypatch):
    reverse = COPY.format("[j*-1 + 4]", "j")
    assert ("p1", "p0") not in parse_kernel(reverse).in_place
    monkeypatch.setattr(Kernel, "in_place", frozenset({("p1", "p0")}))
    with pytest.raises(AccessFaultError, match="may be overwritten before"):
        prove(reverse, (5, 5), 5)
    assert prove(COPY.format("j", "j"), (5, 5), 5).operands


def test_long_loops_are_proved_at_their_ends():
    proof = prove(COPY.format("j", "j"), (1 << 20, 1 << 20), 1 << 20)
    assert any("only the ends" in reason for reason in proof.unproved)
    with pytest.raises(AccessFaultError, match="touches element 1048575"):
        prove(COPY.format("j", "j"), (1 << 20, (1 << 20) - 1), 1 << 20)


def lose_an_element(self, arguments, compute=Kernel._compute_room):
    return {name: room - 1 for name, room in compute(self, arguments).items()}


def test_compile_proves_and_names_the_line(monkeypatch):
    monkeypatch.setattr(Kernel, "_compute_room", lose_an_element)
    graph = PROGRAMS["scan in scan"]()
    with (
        sg.options(jit=False),
        pytest.raises(sg.errors.VerifyError, match="writes element") as info,
    ):
        sg.compile(graph, verify=True)
    assert Path(str(info.value.at.resolve().file)).name == "access_programs.py"
    with sg.options(jit=False, verify=True), pytest.raises(sg.errors.VerifyError):
        sg.compile(PROGRAMS["scan in scan"]())


def test_plans_whose_steps_are_damaged():
    with sg.options(jit=False):
        plan = sg.compile(PROGRAMS["scan"]()).plan()
    first = plan.steps[0]
    with pytest.raises(sg.errors.VerifyError, match="iterations, not"):
        prove_plan(replace(plan, steps=(replace(first, total=first.total + 1), *plan.steps[1:])))
    with pytest.raises(sg.errors.VerifyError, match=r"no value there|no step writes"):
        prove_plan(replace(plan, steps=plan.steps[1:]))
    smaller = tuple((name, 8 if name == "in.x" else n) for name, n in plan.buffer_bytes)
    with pytest.raises(sg.errors.VerifyError, match="there are 1"):
        prove_plan(replace(plan, buffer_bytes=smaller))


SELECTED = """
kernel(p0: scratch f64, p1: in bool, p2: out f64; n0) {{
  map j: 2 {{
    store p0[j] = f64(1.0)
  }}
  map j: n0 {{
    %0: bool = load p1[j]
    %1: f64 = load p0[j]
    %2: f64 = select %0, %1, f64(0.0){}
  }}
}}
"""


def test_what_a_selection_may_leave_out_is_not_proved():
    proof = prove(SELECTED.format("\n    store p2[j] = %2"), (4, 4, 4), 4)
    assert proof.unproved == ("p0[j]: a selection leaves out what is not written",)
    with pytest.raises(AccessFaultError, match="has not written before"):
        prove(SELECTED.format("\n    %3: f64 = add %2, %1\n    store p2[j] = %3"), (4, 4, 4), 4)
