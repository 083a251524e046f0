"""The functions of composed programs, as NumPy alone computes them: loops are loops of Python.

Programs of ``grammar.py`` are written twice. The text in NumPy calls these functions where NumPy
has none of that meaning. Nothing here may import the package that the programs test.
"""

import math

import numpy as np


def scan(f, carry, xs, length=None, reverse=False):
    """Run ``carry, y = f(carry, x)`` over the first axis of ``xs``; return the carry and the ys."""
    count = length if xs is None else len(xs)
    outs = [None] * count
    for i in reversed(range(count)) if reverse else range(count):
        carry, outs[i] = f(carry, None if xs is None else xs[i])
    return carry, None if outs[0] is None else np.stack(outs)


def fori_loop(lower, upper, f, carry):
    """Run ``carry = f(i, carry)`` for each number from ``lower`` to ``upper``."""
    for i in range(int(lower), int(upper)):
        carry = f(np.int64(i), carry)
    return carry


def while_loop(test, f, carry, max_steps):
    """Run ``carry = f(carry)`` while the test is true, at most ``max_steps`` times."""
    steps = 0
    while steps < max_steps and test(carry):
        carry, steps = f(carry), steps + 1
    return carry


def cond(test, if_true, if_false):
    """Call one of two functions."""
    return if_true() if test else if_false()


def switch(number, branches):
    """Call the function of a number that is brought into the range of the branches."""
    return branches[min(max(int(number), 0), len(branches) - 1)]()


def vmap(f, in_axes=0, out_axes=0):
    """Call ``f`` for each slice along ``in_axes``, and stack what it returns along ``out_axes``."""

    def call_rows(x):
        return np.stack([f(row) for row in np.moveaxis(x, in_axes, 0)], axis=out_axes)

    return call_rows


def checkpoint(f):
    """Return the function: recomputation changes no value."""
    return f


def linear_scan(a, b, axis):
    """Return ``y[i] = a[i] * y[i - 1] + b[i]`` along an axis."""
    a, b = np.broadcast_arrays(a, b)
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    rows = []
    for factor, term in zip(a, b, strict=True):
        rows.append(factor * rows[-1] + term if rows else factor * 0.0 + term)
    return np.moveaxis(np.stack(rows), 0, axis)


def write(x, index, value, how):
    """Return a copy of ``x`` with entries set, added to, multiplied or bounded."""
    x = np.array(x)
    if how == "set":
        x[index] = value
    else:
        ufunc = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}[how]
        ufunc.at(x, index, value)
    return x


def scatter_add(x, indices, size):
    """Add the rows of ``x`` to the rows of zeros that the indices name."""
    out = np.zeros((size, *x.shape[1:]), x.dtype)
    np.add.at(out, indices, x)
    return out


def logsumexp(x, axis, keepdims=False):
    """Return the logarithm of a sum of exponentials."""
    top = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.squeeze(total, axis)


def log_softmax(x, axis):
    """Return the logarithm of softmax."""
    return x - logsumexp(x, axis, keepdims=True)


def softmax(x, axis):
    """Return exponentials over their sum."""
    return np.exp(log_softmax(x, axis))


def cross_entropy(x, labels):
    """Return the mean over rows of minus the logarithm of the label's softmax."""
    return -np.mean(log_softmax(x, 1)[np.arange(len(x)), labels])


def layer_norm(x):
    """Return rows less their mean, over their standard deviation."""
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def erf(x):
    """Return the error function of each element."""
    return np.vectorize(math.erf, otypes=[np.asarray(x).dtype])(x)


def attention(q, k, v, causal):
    """Return softmax of scaled products of queries and keys, times the values."""
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if causal:
        later = np.arange(scores.shape[-1]) > np.arange(scores.shape[-2])[:, None]
        scores = np.where(later, -np.inf, scores)
    return softmax(scores, -1) @ v


def windows(x, sizes, strides):
    """Return the windows over the last axes, as further axes behind."""
    views = np.lib.stride_tricks.sliding_window_view(x, sizes, tuple(range(-len(sizes), 0)))
    lead = (slice(None),) * (x.ndim - len(sizes))
    return views[(*lead, *(slice(None, None, s) for s in strides))]


def conv(x, w, stride, padding):
    """Return the products of filters ``(out, in, ...)`` with windows of ``(batch, in, ...)``."""
    axes = w.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0)] + [(padding, padding)] * axes)
    views = windows(x, w.shape[2:], (stride,) * axes)
    last = tuple(range(-axes, 0))
    out = np.tensordot(views, w, ((1, *(views.ndim + a for a in last)), (1, *range(2, w.ndim))))
    return np.moveaxis(out, -1, 1)


def max_pool(x, size, stride):
    """Return the largest element of windows over the axes behind the first two."""
    axes = x.ndim - 2
    return windows(x, (size,) * axes, (stride,) * axes).max(tuple(range(-axes, 0)))


def avg_pool(x, size, stride):
    """Return the mean of windows over the axes behind the first two."""
    axes = x.ndim - 2
    return windows(x, (size,) * axes, (stride,) * axes).mean(tuple(range(-axes, 0)))


def expm(a):
    """Return the exponential of small matrices, by its series."""
    term = total = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    for k in range(1, 30):
        term = term @ a / k
        total = total + term
    return total
