"""Checks for your own programs and ops: derivatives, whole ops, graphs.

They raise ``CheckError`` (an AssertionError) that shows the sample which fails, and need no test
framework. Public as ``sg.testing``.

    >>> import numpy as np, staticgrad as sg
    >>> worst = sg.testing.check_gradients(lambda x: sg.tanh(x) * x, [np.array([0.3, -1.2])])
    >>> worst < 1e-7
    True
"""

from staticgrad.errors import CheckError
from staticgrad.extend import namespace
from staticgrad.testing.gradients import assert_same_graph, check_gradients, check_grads
from staticgrad.testing.ops import check_op

__all__ = ["CheckError", "assert_same_graph", "check_gradients", "check_grads", "check_op"]


namespace(globals())
