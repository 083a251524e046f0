"""Kernels that have every statement, in their canonical text."""

EVERYTHING = """\
kernel(p0: in f32, p1: in i32, p2: in f32, p3: out f32, p4: out f32, p5: check i64, p6: inout f64; \
n0, n1, n2, n3) over i0: n0, i1: 3 {
  map j: n1 {
    %0: i32 = load p1[j]
    %1: i64 = cast %0
    @c0: i64 = check %1 in n2 wrap at j to p5
    %2: f32 = load p0[i0*n1 + i1*-1 + @c0*n3]
    %3: f32 = load p2[0]
    %4: f32 = fma %2, %3, f32(-0.0)
    %5: bool = lt %4, f32(inf)
    %6: f32 = select %5, %4, %2
    store p3[i0*n3 + i1*n1 + j] = %6
    @r0: f32 = sum %6
    @r1: f32 = max f32(nan)
  }
  scalar {
    %7: i64 = mul i0, n1
    %8: f32 = cast %7
    %9: f32 = add @r0, %8
    %10: f32 = div %9, @r1
    store p4[i0*3 + i1] = %10
    store p6[i0*3 + i1] += f64(0.1)
  }
}
"""
COLUMNS = """\
kernel(p0: in f64, p1: out f64; n0, n1, n2) {
  columns j: n0 {
    rows i0: n1, i1: n2 {
      %0: f64 = load p0[i0*n2 + i1*n0 + j]
      @r0: f64 = sum %0
      @r1: f64 = min %0
    }
    %1: f64 = sub @r0, @r1
    store p1[j] = %1
  }
}
"""
GEMM = """\
kernel(p0: in f32, p1: in f32, p2: in f32, p3: out f32; \
n0, n1, n2, n3) over i0: n0 {
  gemm i: n1, j: n2, k: n3 {
    @acc: f32 = sum p0[i0*n3 + i*n3 + k*0] * p1[k + j*n3]
    %0: f32 = load p2[j]
    %1: f32 = add @acc, %0
    %2: f32 = maximum %1, f32(0.0)
    store p3[i0*n1 + i*n2 + j] = %2
  }
}
"""
SCATTER = """\
serial kernel(p0: in i64, p1: inout u8, p2: check i64; n0) over i0: n0 {
  map j: 1 {
    %0: i64 = load p0[i0]
    @c0: i64 = check %0 in n0 at i0 to p2
    store p1[@c0] += u8(1)
  }
}
"""
INDICES = """\
kernel(p0: in f32, p1: out f32; n0) {
  map j: n0 {
    %0: i64 = add j, i64(-1)
    %1: f32 = load p0[%0*n0 + (j) + i64(3)*2 + (n0)*4]
    store p1[j] = %1
  }
}
"""
SORT = """\
kernel(p0: in f32, p1: scratch i64, p2: out f32, p3: out i64; n0, n1, n2) over i0: n0 {
  sort {
    keys j: n1 {
      %0: f32 = load p0[i0*n1 + j]
      %1: i32 = bitcast %0
      @at: i64 = order %1 in p1
    }
    kept j: n2 {
      store p3[i0*n2 + j] = @at
      %2: f32 = load p0[i0*n1 + @at]
      store p2[i0*n2 + j] = %2
    }
  }
}
"""
PICK = (
    SORT.replace("; n0, n1", ", p4: in i64; n0, n1")
    .replace(
        "    kept",
        """\
    picked j: n2 {
      %2: i64 = load p4[i0*n2 + j]
      pick %2
    }
    kept""",
    )
    .replace("%2: f32", "%3: f32")
    .replace("= %2\n", "= %3\n")
)
SEARCH = """\
kernel(p0: in f64, p1: in f64, p2: out i64; n0, n1) {
  map j: n0 {
    %0: f64 = load p1[j]
    @c0: i64 = search left %0 in p0 step 1 of n1
    @c1: i64 = search right %0 in p0 step -1 of 3
    %1: i64 = sub @c1, @c0
    store p2[j] = %1
  }
}
"""
KERNELS = [EVERYTHING, COLUMNS, GEMM, SCATTER, INDICES, SORT, PICK, SEARCH]
