"""Sentences of the pages and docstrings that promise something strong, by the row that holds them.

``test_promises.py`` finds them. A new one belongs to a row of the page ``promises``, whose tests
hold it, or is said more plainly. What is no promise stands in ``NO_PROMISE``, by the reason.
"""

#: Row of the page ``promises`` -> where sentences stand, and a part of each.
PROMISED = {
    "plans": """
        README: bitwise identical for every memory plan
        conventions: bitwise identical for every plan
        fit-into-memory: The gradients are bitwise the same.
        fit-into-memory: Results stay bitwise identical
        policies: So policies differ in memory and time, never in results.
        policies: Results stay bitwise identical.
        random-numbers: **Budgets.**
        sg.compile: bitwise identical for every budget
    """,
    "threads": """
        run-a-program: Results are bitwise identical for every number.
        conventions: bitwise identical for every plan
        README: bitwise identical for every memory plan
    """,
    "backends": """
        README: with bitwise identical results;
        ARCHITECTURE: All give bitwise identical results
        numba: with bitwise identical results.
        numba: So results are bitwise identical.
        run-a-program: Results are bitwise identical.
        write-a-backend: The promise about equal bytes
    """,
    "plain Python": """
        ARCHITECTURE: With `STATICGRAD_JIT=0`
        read-a-kernel: the same bits for every lane
        read-a-kernel: with the same bytes
    """,
    "machines": """
        README: on aarch64, which has the same bits
        conventions: Kernels have the same bits.
        run-a-program: Results have the same bits on all of them
        mixed-precision: several times as long, with the same bits.
    """,
    "caches": """
        run-a-program: and the disk stores full code only
    """,
    "options": """
        sg.compile: `tune` and `freeze`; but
        deploy: Results are the same bits.
    """,
    "levels": """
        passes: `O0` and `O1` give equal bits
    """,
    "exact rules": """
        ARCHITECTURE: keeps every byte
        passes: equal bytes, for NaN
        passes: in every spelling of equal bits
    """,
    "sums": """
        sg.sum: along a fixed tree
    """,
    "linear algebra": """
        accuracy: Where loops of our own
        accuracy: Results of LAPACK
        conventions: Small matrices are loops of our own
        conventions: Its results are bitwise identical only where OpenBLAS
        sg.compile: the same bits on every machine, at every size
    """,
    "transforms": """
        complex-numbers: with the same bits
    """,
    "sparse products": """
        sparse-matrices: bitwise those of SciPy
    """,
    "constants": """
        ARCHITECTURE: constants with the same bits on every machine
    """,
    "exported files": """
        README: bitwise the same results (LAPACK apart)
        export: **Results** are bitwise identical
        export: **Numbers** are bitwise those
    """,
    "training that goes on": """
        train-and-save: training continues bitwise identically
        random-numbers: Training that is resumed
    """,
    "draws": """
        random-numbers: computing it again gives the same bits
        random-numbers: **The same numbers.**
        random-numbers: function have bitwise identical losses
        sg.nn.Dropout: draws the same bits for one seed and step
    """,
    "draws in JAX": """
        jax-programs: have the same bits;
    """,
    "sums over ranks": """
        more-than-one-machine: **The order of sums.**
        sg.distributed.mean: in the order of the ranks, bitwise the same
    """,
    "ranks": """
        more-than-one-machine: **The same as one process.**
    """,
    "one rank": """
        more-than-one-machine: One rank computes bitwise
    """,
    "state in parts": """
        more-than-one-machine: bitwise those without the option
    """,
    "estimators": """
        beside: `check_estimator` passes except for one check
    """,
    "peak": """
        README: every byte of memory are known too
    """,
    "results": """
        conventions: Results never share memory
    """,
    "feeds are read": """
        sg.Compiled: They are never written
    """,
    "dead nodes": """
        a-compiler: dead nodes never
        a-compiler: What no result needs is never reached
        dead-nodes: so what no result needs is never computed
        dead-nodes: Inputs are never dead
    """,
    "hints": """
        sg.dim: correctness never does
    """,
    "layers": """
        ARCHITECTURE: siblings never import each other
    """,
    "values": """
        README: Values never change.
        ARCHITECTURE: A Graph, Schedule or Plan never changes.
        array-api: **A tensor never changes by an operation**
        glossary: It never changes.
        the-tape: Arrays never change
        sg.Value: which never changes
        sg.array: a value never changes
        sg.at: x itself never changes
        sg.copy: a value of a graph never changes
        sg.parameter: its shape never changes
        sg.reshape: a value never changes
    """,
    "steps of draws": """
        random-numbers: always advance what they draw from
        random-numbers: An update that `updates` names is never changed.
    """,
    "all or nothing": """
        run-a-program: updates are always completed
    """,
    "no silent zeros": """
        README: There are no silent zeros.
        ARCHITECTURE: There are no silent zeros.
    """,
    "feeds": """
        conventions: never from a higher kind to a lower
    """,
    "verifier": """
        ARCHITECTURE: The verifier accepts exactly
    """,
    "types of gradients": """
        ARCHITECTURE: A gradient has exactly the type
        sg.grad: exactly the type
        sg.hvp: exactly the type
        sg.jvp: exactly the type
        sg.vjp: exactly the type
    """,
    "NaN": """
        conventions: NaN is never lost
    """,
    "integers": """
        conventions: Integers wrap and never trap
    """,
    "named sizes": """
        conventions: A named size never broadcasts
    """,
    "angles": """
        sg.cos: reduced exactly
        sg.sin: reduced exactly
        sg.tan: reduced exactly
    """,
    "whole numbers": """
        sg.linspace: exactly `stop` at the end
        sg.sinc: exactly 0 at other whole numbers
    """,
    "floating": """
        sg.divide: always floating
        sg.reciprocal: always floating
        sg.arctan2: always floating
        sg.copysign: always floating
        sg.fabs: always floating
        sg.heaviside: always floating
        sg.logaddexp2: always floating
    """,
    "stable sorts": """
        sg.sort: Always stable
    """,
    "narrow gradients": """
        mixed-precision: exact to the last bit
    """,
    "stable rules": """
        passes: never farther from the true value
    """,
    "padding": """
        sg.nn.MaxPool1d: never the largest
        sg.nn.max_pool: never the largest
        sg.nn.avg_pool: never counts
    """,
    "singular values": """
        sg.linalg.svd: S always
    """,
    "convolutions": """
        sg.nn.conv: as exactly as others
    """,
    "equal trees": """
        sg.distributed.check_equal: bitwise the same values on all ranks
    """,
}

#: Why they are no promises -> where sentences stand, and a part of each.
NO_PROMISE = {
    "a headline": """
        conventions: Exceptions to the same bits
        dead-nodes: Never reached
    """,
    "the meaning of a word or an argument": """
        sg.Graph: equal exactly if the digests are
        sg.Graph: of exactly these parts
        sg.bitwise_invert: every bit flipped on integers
        sg.logical_xor: exactly one operand is true
        sg.isin: NaN never is
        sg.cov: always gives a matrix
        sg.backends.Code: never `auto`
        sg.comparison.Comparison: None: never
        sg.linalg.eig: these never are
        sg.linalg.inv: a pivot that is exactly 0
        sg.nn.BatchNorm1d: always uses those of the batch
        sg.random.Generator: that has no other updates
        sg.testing.check_op: in every bit if the op is `exact`
    """,
    "how something runs": """
        sg.host_call: while no other step runs
    """,
    "another library": """
        sg.special.comb: Python's `math.comb` counts exactly
    """,
}
