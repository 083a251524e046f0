"""The vector-math blocks: exp, log, sin, ... as branch-free scalar expressions.

``blocks.expand`` gives a block's definition over plain primitives, for f32 and f64, over the full
range, with the special values of NumPy; ``blocks.ULP`` its largest error. One definition serves
every renderer and the interpreter, so their bits agree; ``fma`` stands only where a block says so.
Knows numbers, not kernels: nothing here loads, loops or branches.
"""
