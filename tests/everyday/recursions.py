"""Programs as users write them: control, filters, options and messages, step after step."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(lambda r: [np.exp(normal(r, 24) * 0.2) * 5, normal(r, 3), normal(r, 4) * 0.1])
def holt_winters(y, weights, season):
    a, b, g = (sg.sigmoid(weights[k]) for k in range(3))

    def step(carry, observed):
        level, trend, factors = carry
        error = observed - (level + trend) * factors[0]
        after = a * observed / factors[0] + (1 - a) * (level + trend)
        factor = g * observed / after + (1 - g) * factors[0]
        moved = sg.concatenate([factors[1:], factor[None]])
        return (after, b * (after - level) + (1 - b) * trend, moved), error**2

    _, errors = sg.scan(step, (y[0], y[0] * 0, sg.exp(season)), y)
    return errors[4:].mean()


@program(lambda r: [normal(r, 12) * 0.3, np.array([0.4, 0.0]), normal(r, 3) * 0.2])
def ilqr_backward_sweep(controls, start, costs):
    def moved(x, u):
        return sg.stack([x[0] + 0.1 * x[1], x[1] + 0.1 * (u - sg.sin(x[0]))])

    q = sg.exp(costs)

    def back(carry, at):
        curvature, slope = carry
        x, u = at
        a = sg.jacobian(lambda each: moved(each, u))(x)
        b = sg.jacobian(lambda each: moved(x, each))(u)
        by_x = q[0] * 2 * x + a.T @ slope
        by_u = 2 * q[1] * u + b @ slope
        both = q[0] * 2 * sg.eye(2, dtype=x.dtype) + a.T @ curvature @ a
        steep, across = 2 * q[1] + b @ curvature @ b, b @ curvature @ a
        first, gain = -by_u / steep, -across / steep
        return (both + sg.outer(across, gain), by_x + across * first), (first, gain)

    _, states = sg.scan(lambda x, u: (moved(x, u), x), start, controls)
    last = sg.eye(2, dtype=controls.dtype) * q[2]
    _, (firsts, gains) = sg.scan(back, (last, last @ start), (states, controls), reverse=True)
    return (firsts**2).sum() + (gains**2).sum()


@program(lambda r: [normal(r, 2), normal(r, 2), np.array([0.1, -0.2, 0.3])], near=1e-8)
def pendulum_by_its_lagrangian(q, v, logs):
    m1, m2, length = (sg.exp(logs[k]) for k in range(3))

    def lagrangian(q, v):
        joint = 2 * length * v[0] * v[1] * sg.cos(q[0] - q[1])
        kinetic = 0.5 * m1 * v[0] ** 2 + 0.5 * m2 * (v[0] ** 2 + (length * v[1]) ** 2 + joint)
        return kinetic + (m1 + m2) * sg.cos(q[0]) + m2 * length * sg.cos(q[1])

    by_v = sg.grad(lagrangian, argnums=1)
    masses = sg.jacobian(lambda w: by_v(q, w))(v)
    turned = sg.jacobian(lambda p: by_v(p, v))(q) @ v
    return (sg.linalg.solve(masses, sg.grad(lagrangian)(q, v) - turned) ** 2).sum()


@program(lambda r: [np.array([1.0, 0.2, 0.05]), r.uniform(0.8, 1.2, 3)], slopes=False, single=2e-2)
def american_puts(market, strikes):
    """A lattice in which exercise is a kink, of one strike under ``vmap``."""
    steps, (spot, spread, rate) = 16, (market[k] for k in range(3))
    up = sg.exp(spread * np.sqrt(1 / steps).item())
    likely = (sg.exp(rate / steps) - 1 / up) / (up - 1 / up)
    places = np.arange(steps + 1)

    def price(strike):
        def back(i, worth):
            now = spot * up ** (2.0 * places - (steps - 1.0 - i.astype(worth.dtype)))
            later = likely * sg.concatenate([worth[1:], worth[-1:]]) + (1 - likely) * worth
            return sg.maximum(sg.exp(-rate / steps) * later, strike - now)

        worth = sg.maximum(strike - spot * up ** (2.0 * places - steps), 0.0)
        return sg.fori_loop(0, steps, back, worth)[0]

    return sg.vmap(price)(strikes).sum()


@program(lambda r: [normal(r, 5, 4, 6), whole(r, 5, 3) + 1])
def rnn_transducer(scores, labels):
    logs = sg.nn.log_softmax(scores)
    blank, emit = logs[:, :, 0], logs[:, np.arange(3), labels]

    def along_labels(before, own):
        reached = sg.logaddexp(own[0], before + own[1])
        return reached, reached

    def frame(row, own):
        stayed = row + own[0]
        _, rest = sg.scan(along_labels, stayed[0], (stayed[1:], own[1]))
        return sg.concatenate([stayed[:1], rest]), None

    first = sg.concatenate([sg.zeros((1,), dtype=scores.dtype), sg.cumsum(emit[0])])
    last, _ = sg.scan(frame, first, (blank[:-1], emit[1:]))
    return -(last[-1] + blank[-1, -1])


@program(lambda r: [normal(r, 6, 3), normal(r, 3, 3), normal(r, 6, 3)])
def loopy_belief_propagation(alone, pairs, wanted):
    ring, others = np.arange(6), np.roll(np.arange(6), -1)
    source, target = np.r_[ring, others], np.r_[others, ring]
    back = np.r_[6:12, 0:6]
    both = (pairs + pairs.T) / 2

    def exchange(_, messages):
        out = alone.at[target].add(messages)[source] - messages[back]
        found = sg.nn.logsumexp(out[:, :, None] + both, axis=1)
        return 0.5 * messages + 0.5 * sg.nn.log_softmax(found)

    messages = sg.fori_loop(0, 6, exchange, sg.zeros((12, 3), dtype=alone.dtype))
    beliefs = sg.nn.log_softmax(alone.at[target].add(messages))
    return -(sg.nn.softmax(wanted) * beliefs).sum()


@program(lambda r: [normal(r, 25), normal(r, 25), np.array(-1.0)])
def recursive_least_squares(x, wanted, forgets):
    keep = 0.9 + 0.1 * sg.sigmoid(forgets)

    def step(carry, now):
        taps, inverse, seen = carry
        seen = sg.concatenate([now[0][None], seen[:-1]])
        gain = inverse @ seen / (keep + seen @ inverse @ seen)
        error = now[1] - taps @ seen
        inverse = (inverse - sg.outer(gain, seen @ inverse)) / keep
        return (taps + gain * error, inverse, seen), error * error

    none = sg.zeros((3,), dtype=x.dtype)
    _, errors = sg.scan(step, (none, sg.eye(3, dtype=x.dtype), none), (x, wanted))
    return errors.mean()


@program(lambda r: [normal(r, 9, 9) ** 2, normal(r, 6)], named={1: ("n",)})
def radon_projections(image, angles):
    """Rays through a turned image; the grid has more elements than a constant in a body."""
    rows, columns = np.meshgrid(np.arange(9.0) - 4, np.arange(9.0) - 4, indexing="ij")
    rows, columns = sg.astype(rows, image.dtype), sg.astype(columns, image.dtype)

    def projected(angle):
        cos, sin = sg.cos(angle), sg.sin(angle)
        x, y = cos * columns - sin * rows + 4, sin * columns + cos * rows + 4
        total = 0.0
        for dx, dy in np.ndindex(2, 2):
            i, j = sg.floor(y) + dy, sg.floor(x) + dx
            inside = (i >= 0) & (i <= 8) & (j >= 0) & (j <= 8)
            share = (1 - sg.abs(x - j)) * (1 - sg.abs(y - i))
            found = image[sg.clip(i, 0, 8).astype("int32"), sg.clip(j, 0, 8).astype("int32")]
            total = total + sg.where(inside, share * found, 0.0)
        return total.sum(axis=0)

    return (sg.vmap(projected)(angles) ** 2).mean()
