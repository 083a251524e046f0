"""A schedule and a plan by hand, with a bit of everything, in their canonical text."""

BODY = """\
size batch {min=1, hint=64}
schedule "train step" {
  buffer in.x: f32[3*batch] input "x"   # train.py:3
  buffer "in.a b": i64[batch] input "a b"
  buffer param.w: f32[3] parameter "w"   # train.py:4 [head]
  buffer c3: f32[3] constant = f32[1, 3] [[1.0, -0.0, inf]]
  buffer t4: f32[3*batch + 3] temp   # train.py:8
  buffer k5: i64[2] check
  buffer out.y: f32[batch] output "y"
  kernel k0(p0: in f32, p1: in f32, p2: out f32; n0, n1) over i0: n0 {
    map j: n1 {
      %0: f32 = load p0[i0*n1 + j]
      %1: f32 = load p1[j]
      %2: f32 = mul %0, %1
      store p2[i0*n1 + j] = %2
    }
  }
  step k0(in.x, c3, t4 + 3; batch, 3) total batch grain 5461 "mul"   # train.py:8, train.py:9 [a/b]
  kernel k1(p0: in f32, p1: in i64, p2: check i64, p3: out f32; n0, n1) {
    map j: n0 {
      %0: i64 = load p1[j]
      @c0: i64 = check %0 in n1 wrap at j to p2
      %1: f32 = load p0[@c0]
      store p3[j] = %1
    }
  }
  step k1(t4 + 3, "in.a b", k5, out.y; batch, 3*batch) total batch grain 16384   # train.py:9
  kernel k2(p0: in f32, p1: in f32, p2: out f32; n0) {
    map j: n0 {
      %0: f32 = load p0[j]
      %1: f32 = load p1[0]
      %2: f32 = sub %0, %1
      store p2[j] = %2
    }
  }
  step k2(param.w, out.y, param.w; 3) total 3 grain 16384 ^1 "sub"
  return y = out.y
}
"""
SCHEDULE = "staticgrad-schedule 1\n" + BODY
PLAN = f"""\
staticgrad-plan 1
{BODY}\
plan(batch=5) {{
  arena 192 commit 2
  place t4 at 0 bytes 72 live 0..1
  place k5 at 128 bytes 16 live 0..1
  run 0: k0(in.x, c3, t4 at 12; 5, 3) total 5 grain 5461   # mul
  run 1: k1(t4 at 12, "in.a b", k5, out.y; 5, 15) total 5 grain 16384
  run 2: k2(param.w, out.y, param.w; 3) total 3 grain 16384   # sub
  bytes in.x 60
  bytes "in.a b" 40
  bytes param.w 12
  bytes c3 12
  bytes t4 72
  bytes k5 16
  bytes out.y 20
}}
"""
