"""The rules of the optimizers, written by hand in NumPy from their papers: float64, plain loops.

A rule takes the options, the number of the step (from 1), a parameter, its gradient and a dict that
keeps what it remembers of the parameter; it gives the next parameter.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from staticgrad import optim


def sgd(o, t, p, g, state):
    g = g + o.weight_decay * p
    v = state["v"] = o.momentum * state.get("v", 0.0) + (1 - o.dampening * (t > 1)) * g
    return p - o.learning_rate * (g + o.momentum * v if o.nesterov else v)


def adam(o, t, p, g, state):
    decoupled = isinstance(o, optim.AdamW)
    g = g if decoupled else g + o.weight_decay * p
    m = state["m"] = o.beta1 * state.get("m", 0.0) + (1 - o.beta1) * g
    v = state["v"] = o.beta2 * state.get("v", 0.0) + (1 - o.beta2) * g**2
    if o.amsgrad:
        v = state["most"] = np.maximum(state.get("most", 0.0), v)
    d = (m / (1 - o.beta1**t)) / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)
    return p - o.learning_rate * (d + decoupled * o.weight_decay * p)


def lamb(o, t, p, g, state):
    plain = optim.Adam(1.0, o.beta1, o.beta2, o.eps, amsgrad=o.amsgrad)
    d = p - adam(plain, t, p, g, state) + o.weight_decay * p
    return p - o.learning_rate * np.linalg.norm(p) / np.linalg.norm(d) * d


def nadam(o, t, p, g, state):
    g = g + o.weight_decay * p
    m = state["m"] = o.beta1 * state.get("m", 0.0) + (1 - o.beta1) * g
    v = state["v"] = o.beta2 * state.get("v", 0.0) + (1 - o.beta2) * g**2
    if o.amsgrad:
        v = state["most"] = np.maximum(state.get("most", 0.0), v)
    now, ahead = (o.beta1 * (1 - 0.96 ** (s * o.momentum_decay) / 2) for s in (t, t + 1))
    product = state["product"] = state.get("product", 1.0) * now
    s = np.sqrt(v / (1 - o.beta2**t)) + o.eps
    d = (1 - now) * g / (1 - product) + ahead * m / (1 - product * ahead)
    return p - o.learning_rate * d / s


def radam(o, t, p, g, state):
    g = g + o.weight_decay * p
    m = state["m"] = o.beta1 * state.get("m", 0.0) + (1 - o.beta1) * g
    v = state["v"] = o.beta2 * state.get("v", 0.0) + (1 - o.beta2) * g**2
    if o.amsgrad:
        v = state["most"] = np.maximum(state.get("most", 0.0), v)
    most = 2 / (1 - o.beta2) - 1
    rho = most - 2 * t * o.beta2**t / (1 - o.beta2**t)
    d = m / (1 - o.beta1**t)
    if rho > 5:
        r = (rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)
        d = d * np.sqrt(r * (1 - o.beta2**t)) / (np.sqrt(v) + o.eps)
    return p - o.learning_rate * d


def adamax(o, t, p, g, state):
    g = g + o.weight_decay * p
    m = state["m"] = o.beta1 * state.get("m", 0.0) + (1 - o.beta1) * g
    u = state["u"] = np.maximum(o.beta2 * state.get("u", 0.0), abs(g) + o.eps)
    return p - o.learning_rate / (1 - o.beta1**t) * m / u


def adadelta(o, t, p, g, state):
    g = g + o.weight_decay * p
    v = state["v"] = o.decay * state.get("v", 0.0) + (1 - o.decay) * g**2
    u = state.get("u", 0.0)
    d = np.sqrt(u + o.eps) / np.sqrt(v + o.eps) * g
    state["u"] = o.decay * u + (1 - o.decay) * d**2
    return p - o.learning_rate * d


def rmsprop(o, t, p, g, state):
    g = g + o.weight_decay * p
    v = state["v"] = o.decay * state.get("v", 0.0) + (1 - o.decay) * g**2
    m = state["m"] = o.decay * state.get("m", 0.0) + (1 - o.decay) * g
    d = g / (np.sqrt(v - m**2 if o.centered else v) + o.eps)
    b = state["b"] = o.momentum * state.get("b", 0.0) + d
    return p - o.learning_rate * b


def adagrad(o, t, p, g, state):
    g = g + o.weight_decay * p
    s = state["s"] = state.get("s", 0.0) + g**2
    return p - o.learning_rate * g / (np.sqrt(s) + o.eps)


def lion(o, t, p, g, state):
    m = state.get("m", 0.0)
    state["m"] = o.beta2 * m + (1 - o.beta2) * g
    return p - o.learning_rate * (np.sign(o.beta1 * m + (1 - o.beta1) * g) + o.weight_decay * p)


def adafactor(o, t, p, g, state):
    b = 1 - float(t) ** -o.decay
    s = g**2 + o.eps
    if p.ndim < 2:
        v = state["v"] = b * state.get("v", 0.0) + (1 - b) * s
    else:
        r = state["r"] = b * state.get("r", 0.0) + (1 - b) * s.mean(-1, keepdims=True)
        c = state["c"] = b * state.get("c", 0.0) + (1 - b) * s.mean(-2, keepdims=True)
        v = r * c / r.mean(-2, keepdims=True)
    u = g / np.sqrt(v)
    u = u / max(1.0, np.sqrt(np.mean(u**2)) / o.threshold)
    a = min(0.01, t**-0.5) if o.learning_rate is None else o.learning_rate
    if o.relative:
        a *= max(o.least_scale, np.sqrt(np.mean(p**2)))
    return p - a * (u + o.weight_decay * p)


def muon(o, t, p, g, state):
    if p.ndim != 2:
        return adam(o, t, p, g, state)
    m = state["m"] = o.momentum * state.get("m", 0.0) + (1 - o.momentum) * g
    d = o.momentum * m + (1 - o.momentum) * g if o.nesterov else m
    left, values, right = np.linalg.svd(d, full_matrices=False)  # the iteration moves them alone
    values = values / max(float(np.linalg.norm(d)), 1e-7)
    for _ in range(o.rounds):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    a, b = p.shape
    s = max(1.0, a / b) ** 0.5 if o.adjust == "original" else 0.2 * max(a, b) ** 0.5
    return p - o.learning_rate * (s * (left * values) @ right + o.weight_decay * p)


RULES = {
    optim.SGD: sgd,
    optim.Adam: adam,
    optim.AdamW: adam,
    optim.RMSProp: rmsprop,
    optim.Adagrad: adagrad,
    optim.Lion: lion,
    optim.Adafactor: adafactor,
    optim.Muon: muon,
    optim.LAMB: lamb,
    optim.NAdam: nadam,
    optim.RAdam: radam,
    optim.Adamax: adamax,
    optim.Adadelta: adadelta,
}


def rule_of(o, p):
    """The options and the rule of a parameter."""
    if not isinstance(o, optim.ParameterGroups):
        return o, RULES[type(o)]
    for has, how in o.groups:
        if has(p):
            options = dataclasses.replace(o.default, **how) if isinstance(how, Mapping) else how
            return options, RULES[type(options)]
    return o.default, RULES[type(o.default)]


def at_rate(o, rate):
    """The options with a rate in place of a schedule or a value."""
    if isinstance(o, optim.ParameterGroups):
        return dataclasses.replace(o, default=at_rate(o.default, rate))
    return dataclasses.replace(o, learning_rate=rate)


def rate_of(o):
    return (o.default if isinstance(o, optim.ParameterGroups) else o).learning_rate


def by_hand(o, start, gradient, runs, rates=()):
    """The parameters after these runs; ``gradient(k, params)`` gives the gradients of run k.

    ``rates``: the rate of each run, where it is fed; the last run of a step decides.
    """
    params, states = [*start], [{} for _ in start]
    waiting = []
    for run in range(runs):
        waiting.append(gradient(run, params))
        if len(waiting) < o.accumulate:
            continue
        grads = [sum(contributions) / o.accumulate for contributions in zip(*waiting, strict=True)]
        waiting = []
        if o.max_value is not None:
            grads = [np.clip(g, -o.max_value, o.max_value) for g in grads]
        if o.max_norm is not None:
            norm = np.sqrt(sum((g**2).sum() for g in grads))
            grads = [g * min(1.0, o.max_norm / norm) for g in grads]
        step = (run + 1) // o.accumulate
        schedule = rate_of(o)
        if rates:
            now = at_rate(o, rates[run])
        else:
            now = at_rate(o, float(schedule(step - 1))) if callable(schedule) else o
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            options, rule = rule_of(now, p)
            params[k] = rule(options, step, p, g, states[k])
    return params
