"""Hamiltonian Monte Carlo: NUTS and trajectories of a fixed length, with adaptation.

A whole chain is one compiled program: a scan over draws, in each of which a loop doubles the
trajectory. NUTS is the multinomial variant of Betancourt, "A Conceptual Introduction to Hamiltonian
Monte Carlo" (2017), with the iterative form of Phan, Pradhan and Jankowiak (2019); the step size
follows dual averaging (Hoffman and Gelman, "The No-U-Turn Sampler", 2014), and the diagonal of the
mass matrix the windows of Stan's reference manual. R-hat and the effective sample size are those of
Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization"
(2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import make_boundaries, public, quote
from staticgrad.extend.functions import any as some, sum as total, zeros
from staticgrad.extend.loops import fori_loop, scan, while_loop
from staticgrad.extend.ops import exp, isfinite, log, logaddexp, minimum, reshape, sqrt, take, where
from staticgrad.extend.trees import flatten, unflatten
from staticgrad.programs.derivatives import value_and_grad
from staticgrad.programs.function import function
from staticgrad.random import Generator
from staticgrad.stats.continuous import norm
from staticgrad.stats.transforms import Transform

#: By how much the energy may grow before a trajectory counts as divergent (Stan's).
DIVERGENT: Final = 1000.0
#: Dual averaging: the weight of early steps, the offset and the exponent (Hoffman and Gelman).
GAMMA, OFFSET, KAPPA = 0.05, 10.0, 0.75

Tree = dict[str, Any]


@make_boundaries
class Samples:
    """Draws of several chains.

    Attributes:
        draws: the tree of ``init``, each array with the axes (chains, draws) in front.
        divergences: how many trajectories after the warm-up diverged, by chain.
        at_max_depth: how many trajectories after the warm-up ended at ``max_depth`` before they
            turned, by chain: draws are less independent than they could be.
        acceptance: the mean acceptance probability, by chain.
        step_size: after adaptation, by chain.
        steps: how many leapfrog steps each draw took, (chains, draws).
    """

    def __init__(self, draws: Any, statistics: dict[str, Any]) -> None:
        self.draws = draws
        self.divergences = statistics["diverging"].sum(-1)
        self.at_max_depth = statistics["at_max_depth"].sum(-1)
        self.acceptance = statistics["acceptance"].mean(-1)
        self.step_size = statistics["step_size"][:, -1]
        self.steps = statistics["steps"]

    def __getitem__(self, name: Any) -> Any:
        return self.draws[name]

    def __repr__(self) -> str:
        chains, draws = self.steps.shape
        counts = f"{self.divergences.sum()} divergences"
        if self.at_max_depth.any():
            counts += f", {self.at_max_depth.sum()} at max_depth"
        return f"Samples({chains} chains of {draws} draws, {counts})"

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return mean, standard deviation, its error, ``ess`` and ``rhat`` of each array."""
        leaves, _ = flatten(self.draws)
        names = [*self.draws] if isinstance(self.draws, dict) else None
        rows = []
        for leaf in leaves:
            count = ess(leaf)
            deviation = leaf.std(axis=(0, 1))
            rows.append({
                "mean": leaf.mean(axis=(0, 1)), "std": deviation,
                "mcse": deviation / np.sqrt(count), "ess": count, "rhat": rhat(leaf),
            })  # fmt: skip
        return dict(zip(names or map(str, range(len(rows))), rows, strict=True))


def nuts(
    logdensity: Callable[[Any], Any],
    init: Any,
    key: Any,
    *,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    transforms: Any = None,
    target: float = 0.8,
    max_depth: int = 10,
    step_size: float = 0.1,
    jitter: float = 1.0,
) -> Samples:
    """Draw from a density by the No-U-Turn sampler.

    Args:
        logdensity: takes a tree as ``init`` and returns the logarithm of the density, up to a
            constant: one number. It is differentiated and compiled.
        init: where chains begin: an array, or a dict of arrays, of constrained numbers.
        key: the seed, a whole number.
        draws, warmup: the number of draws by chain, and of those before, which adapt the step size
            and the mass matrix and are left out.
        chains: how many.
        transforms: for a dict, the transforms by name, of ``sg.stats.transforms``; names that are
            left out have no constraint. The log-determinants are added to the density.
        target: the acceptance probability that the step size is adapted to.
        max_depth: trajectories have at most 2 ** max_depth steps; ``at_max_depth`` of the result
            counts those that it ended.
        step_size: the first one.
        jitter: chains begin at uniform distances up to it from ``init``, unconstrained.

    Returns:
        ``Samples``: ``.draws`` is a tree of arrays (chains, draws, ...), with ``summary()``,
        ``divergences`` and others.

    >>> import numpy as np, staticgrad as sg
    >>> normal = sg.stats.nuts(lambda x: -(x**2).sum() / 2, np.zeros(2), 0, draws=200, warmup=200)
    >>> normal.draws.shape
    (4, 200, 2)
    """
    transition = _Doubling(_check_count("max_depth", max_depth))
    return _run(
        transition,
        logdensity,
        init,
        key,
        draws,
        warmup,
        chains,
        transforms,
        target,
        step_size,
        jitter,
    )


def hmc(
    logdensity: Callable[[Any], Any],
    init: Any,
    key: Any,
    *,
    steps: int = 16,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    transforms: Any = None,
    target: float = 0.8,
    step_size: float = 0.1,
    jitter: float = 1.0,
) -> Samples:
    """Draw from a density by Hamiltonian Monte Carlo with ``steps`` leapfrog steps a draw.

    Other arguments and the result are those of ``nuts``. The step size of each draw is multiplied
    by a random number from 0.6 to 1.4, so that trajectories do not close.
    """
    transition = _Fixed(_check_count("steps", steps))
    return _run(
        transition,
        logdensity,
        init,
        key,
        draws,
        warmup,
        chains,
        transforms,
        target,
        step_size,
        jitter,
    )


def _check_count(word: str, count: Any) -> int:
    if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1:
        raise ArgumentError(f"{word}={quote(count)} is not a whole number from 1 on")
    return int(count)


# -- a chain --------------------------------------------------------------------------------------


def _run(
    transition: Any,
    logdensity: Callable[[Any], Any],
    init: Any,
    key: Any,
    draws: int,
    warmup: int,
    chains: int,
    transforms: Any,
    target: float,
    step_size: float,
    jitter: float,
) -> Samples:
    """Run chains of Hamiltonian Monte Carlo with this transition; return the samples."""
    draws, chains = _check_count("draws", draws), _check_count("chains", chains)
    warmup = _check_count("warmup", warmup) if warmup else 0
    if not callable(logdensity):
        raise ArgumentError(f"logdensity={quote(logdensity)} is not a function")
    if not isinstance(key, int | np.integer) or isinstance(key, bool):
        raise ArgumentError(
            f"key={quote(key)} is not a whole number", hint="the seed: nuts(f, x, 0)"
        )
    space = _Space(init, transforms)
    rng = Generator(int(key))

    def density(u: Any) -> Any:
        tree, log_det = space.constrain(u)
        return logdensity(tree) + log_det

    value_and_slope = value_and_grad(density)
    schedule = _windows(warmup, draws)

    @function
    def chain(start: Any, first: Any, flags: Any) -> Any:
        """Run one chain: warm-up and draws as one loop."""
        value, slope = value_and_slope(start)
        state = {"u": start, "value": value, "slope": slope}
        adapted = _Adaptation(first, start)

        def step(carry: Any, flag: Any) -> Any:
            """Take one transition of the chain, and adapt step size and mass matrix."""
            state, adaptation = carry
            state, statistics = transition(value_and_slope, state, adaptation, rng, flag)
            adaptation = adapted.following(
                adaptation, state["u"], statistics["acceptance"], flag, target
            )
            tree, _ = space.constrain(state["u"])
            leaves, _ = flatten(tree)
            return (state, adaptation), (
                tuple(leaves),
                {**statistics, "step_size": adaptation["step"]},
            )

        _, trace = scan(step, (state, adapted.initial()), flags)
        return trace

    @function
    def at(start: Any) -> Any:
        value, slope = value_and_slope(start)
        return value, slope

    results = []
    source = np.random.default_rng(int(key))
    for _ in range(chains):
        start = space.start + source.uniform(-jitter, jitter, space.start.shape)
        value, slope = at(start)
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            raise ArgumentError(
                "the density, or its slope, is not finite where a chain begins",
                hint="another init=, or a smaller jitter=",
            )
        results.append(chain(start, np.float64(step_size), schedule))
    leaves = [
        np.stack([result[0][k][warmup:] for result in results]) for k in range(len(results[0][0]))
    ]
    counts = {
        name: np.stack([result[1][name][warmup:] for result in results]) for name in results[0][1]
    }
    return Samples(unflatten(space.tree, leaves), counts)


class _Space:
    """The unconstrained vector that stands for a tree of constrained arrays."""

    def __init__(self, init: Any, transforms: Any) -> None:
        leaves, self.tree = flatten(init)
        arrays = [np.asarray(leaf, np.float64) for leaf in leaves]
        if transforms and not isinstance(init, dict):
            raise ArgumentError("transforms belong to a dict of arrays: init is none")
        names = [*init] if isinstance(init, dict) else [None]
        chosen = dict(transforms or {})
        for name, to in chosen.items():
            if name not in names or not isinstance(to, Transform):
                raise ArgumentError(
                    f"transforms: {name}={quote(to)} is not a transform of one of {names}",
                    hint="sg.stats.transforms.positive, and others",
                )
        self.transforms = [chosen.get(name) for name in names] if chosen else [None] * len(arrays)
        self.shapes, parts = [], []
        for array, to in zip(arrays, self.transforms, strict=True):
            free = array if to is None else np.asarray(to.inverse(array))
            self.shapes.append(free.shape)
            parts.append(free.ravel())
        self.start = np.concatenate(parts)

    def constrain(self, u: Any) -> tuple[Any, Any]:
        """Transform an unconstrained vector to the sampled tree; return its log-determinant too."""
        leaves, place, log_det = [], 0, u[:1].sum() * 0.0
        for shape, to in zip(self.shapes, self.transforms, strict=True):
            count = math.prod(shape)
            part = reshape(u[place : place + count], shape)
            place += count
            if to is not None:
                log_det = log_det + total(to.log_det(part))
                part = to.forward(part)
            leaves.append(part)
        return unflatten(self.tree, leaves), log_det


def _windows(warmup: int, draws: int) -> dict[str, Any]:
    """Return Stan's warm-up schedule: 75 draws, windows of 25, 50, 100, ..., and 50 at the end."""
    first, last = (75, 50) if warmup >= 150 else (int(0.15 * warmup), int(0.1 * warmup))
    count = warmup + draws
    adapts = np.arange(count) < warmup
    learns = (np.arange(count) >= first) & (np.arange(count) < warmup - last)
    ends = np.zeros(count, bool)
    place, size = first, 25 if warmup >= 150 else max(warmup - first - last, 1)
    while place < warmup - last:
        end = place + size
        if end + 2 * size > warmup - last:
            end = warmup - last
        ends[end - 1] = True
        place, size = end, 2 * size
    final = np.arange(count) == warmup - 1
    return {"adapts": adapts, "learns": learns, "ends": ends, "final": final}


class _Adaptation:
    """Dual averaging of the step size, and variances for the mass matrix, by Welford's sums."""

    def __init__(self, first: Any, start: Any) -> None:
        self.first, self.like = first, start

    def initial(self) -> Tree:
        """Return the first state of the sampler's adaptation: dual averaging and Welford sums."""
        zero = self.first * 0.0
        vector = self.like * 0.0
        return {
            "step": self.first, "log_step": log(self.first), "mean_log": zero, "error": zero,
            "count": zero, "about": log(self.first) + math.log(10.0), "inverse": vector + 1.0,
            "seen": zero, "mean": vector, "square": vector,
        }  # fmt: skip

    def following(self, a: Tree, u: Any, acceptance: Any, flag: Tree, target: float) -> Tree:
        """Adapt step size (dual averaging) and variances (Welford) after a draw."""
        adapts, learns, ends, final = (flag[k] for k in ("adapts", "learns", "ends", "final"))
        count = a["count"] + 1.0
        error = a["error"] + (target - acceptance - a["error"]) / (count + OFFSET)
        log_step = a["about"] - sqrt(count) / GAMMA * error
        weight = count**-KAPPA
        mean_log = weight * log_step + (1.0 - weight) * a["mean_log"]
        seen = a["seen"] + 1.0
        deviation = u - a["mean"]
        mean = a["mean"] + deviation / seen
        square = a["square"] + deviation * (u - mean)
        seen, mean, square = (
            where(learns, new, old)
            for new, old in ((seen, a["seen"]), (mean, a["mean"]), (square, a["square"]))
        )
        variance = square / where(seen > 1.0, seen - 1.0, 1.0)
        shrunk = seen / (seen + 5.0) * variance + 1e-3 * 5.0 / (seen + 5.0)
        step = where(final, exp(mean_log), exp(log_step))
        new = {
            "step": step, "log_step": where(ends, mean_log, log_step),
            "mean_log": where(ends, 0.0, mean_log), "error": where(ends, 0.0, error),
            "count": where(ends, 0.0, count),
            "about": where(ends, mean_log + math.log(10.0), a["about"]),
            "inverse": where(ends, shrunk, a["inverse"]), "seen": where(ends, 0.0, seen),
            "mean": where(ends, 0.0, mean), "square": where(ends, 0.0, square),
        }  # fmt: skip
        new["step"] = where(ends, exp(mean_log), step)
        return {name: where(adapts, new[name], a[name]) for name in a}


# -- transitions ----------------------------------------------------------------------------------


def _leapfrog(
    value_and_slope: Any, u: Any, p: Any, slope: Any, step: Any, inverse: Any
) -> tuple[Any, ...]:
    half = p + 0.5 * step * slope
    new = u + step * inverse * half
    value, slope = value_and_slope(new)
    return new, half + 0.5 * step * slope, slope, value


def _kinetic(p: Any, inverse: Any) -> Any:
    return 0.5 * total(p * p * inverse)


class _Fixed:
    """Trajectories of a fixed number of steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(
        self, value_and_slope: Any, state: Tree, adaptation: Tree, rng: Any, flag: Tree
    ) -> Any:
        inverse = adaptation["inverse"]
        step = adaptation["step"] * (0.6 + 0.8 * rng.uniform(shape=(), dtype="float64"))
        p = rng.normal(shape=state["u"].shape, dtype="float64") / sqrt(inverse)
        start_energy = _kinetic(p, inverse) - state["value"]

        def body(_: Any, s: Any) -> Any:
            u, p, slope, _value = s
            return _leapfrog(value_and_slope, u, p, slope, step, inverse)

        first = (state["u"], p, state["slope"], state["value"])
        u, p, slope, value = fori_loop(0, self.steps, body, first)
        grown = _kinetic(p, inverse) - value - start_energy
        grown = where(grown == grown, grown, math.inf)
        chance = minimum(exp(-grown), 1.0)
        moves = rng.uniform(shape=(), dtype="float64") < chance
        new = {"u": u, "value": value, "slope": slope}
        state = {name: where(moves, new[name], state[name]) for name in state}
        steps = state["value"] * 0.0 + float(self.steps)
        return state, {
            "acceptance": chance, "diverging": grown > DIVERGENT, "steps": steps,
            "at_max_depth": steps < 0.0,
        }  # fmt: skip


class _Doubling:
    """NUTS: trajectories are doubled to a random side until they turn."""

    def __init__(self, max_depth: int) -> None:
        self.depth = max_depth
        leaves = np.arange(2**max_depth)
        bits = np.array([bin(n >> 1).count("1") for n in leaves])
        ones = np.array([len(f"0{n:b}") - len(f"0{n:b}".rstrip("1")) for n in leaves])
        #: Of leaf n: the last checkpoint, and the first of the subtrees that end with it.
        self.last, self.first = bits, bits - ones + 1

    def __call__(
        self, value_and_slope: Any, state: Tree, adaptation: Tree, rng: Any, flag: Tree
    ) -> Any:
        step, inverse = adaptation["step"], adaptation["inverse"]
        p = rng.normal(shape=state["u"].shape, dtype="float64") / sqrt(inverse)
        energy = _kinetic(p, inverse) - state["value"]
        zero = state["value"] * 0.0
        no = zero > 1.0
        edge = {"u": state["u"], "p": p, "slope": state["slope"]}
        tree = {
            "left": edge, "right": edge, "chosen": state, "weight": zero, "sum": p, "depth": zero,
            "turning": no, "diverging": no, "acceptance": zero, "steps": zero,
        }  # fmt: skip

        def goes_on(tree: Tree) -> Any:
            return (tree["depth"] < float(self.depth)) & ~tree["turning"] & ~tree["diverging"]

        def double(tree: Tree) -> Tree:
            """Double the NUTS tree in a random direction; maybe accept the new half's sample."""
            forward = rng.uniform(shape=(), dtype="float64") < 0.5
            from_edge = _either(forward, tree["right"], tree["left"])
            signed = where(forward, step, -step)
            sub = self._subtree(value_and_slope, rng, from_edge, signed, inverse, energy, tree)
            stops = sub["turning"] | sub["diverging"]
            chance = minimum(exp(sub["weight"] - tree["weight"]), 1.0)
            moves = (rng.uniform(shape=(), dtype="float64") < chance) & ~stops
            left = _either(forward, tree["left"], sub["edge"])
            right = _either(forward, sub["edge"], tree["right"])
            momenta = tree["sum"] + sub["sum"]
            turning = sub["turning"] | _turns(inverse, left["p"], right["p"], momenta)
            return {
                "left": left, "right": right,
                "chosen": _either(moves, sub["chosen"], tree["chosen"]),
                "weight": logaddexp(tree["weight"], sub["weight"]), "sum": momenta,
                "depth": tree["depth"] + 1.0, "turning": turning, "diverging": sub["diverging"],
                "acceptance": tree["acceptance"] + sub["acceptance"],
                "steps": tree["steps"] + sub["steps"],
            }  # fmt: skip

        tree = while_loop(goes_on, double, tree)
        acceptance = tree["acceptance"] / tree["steps"]
        statistics = {
            "acceptance": acceptance,
            "diverging": tree["diverging"],
            "steps": tree["steps"],
            "at_max_depth": ~tree["turning"] & ~tree["diverging"],
        }  # fmt: skip
        return tree["chosen"], statistics

    def _subtree(
        self,
        value_and_slope: Any,
        rng: Any,
        edge: Tree,
        step: Any,
        inverse: Any,
        energy: Any,
        tree: Tree,
    ) -> Tree:
        """Build a NUTS subtree of 2**depth leapfrog steps, with checks for U-turns."""
        zero = energy * 0.0
        no = zero > 1.0
        count = exp(tree["depth"] * math.log(2.0)) - 0.5  # leaves, less one half
        rows = np.arange(self.depth)
        blank = zeros((self.depth, edge["p"].shape[0]), "float64")
        start = {
            "edge": edge, "chosen": {**{k: edge[k] for k in ("u", "slope")}, "value": zero},
            "weight": zero - math.inf, "sum": edge["p"] * 0.0, "turning": no, "diverging": no,
            "acceptance": zero, "steps": zero, "momenta": blank, "sums": blank,
        }  # fmt: skip

        def goes_on(s: Tree) -> Any:
            return (s["steps"] < count) & ~s["turning"] & ~s["diverging"]

        def leaf(s: Tree) -> Tree:
            """Add a leapfrog step to the NUTS subtree; update sample, weight, checkpoints."""
            u, p, slope, value = _leapfrog(
                value_and_slope, s["edge"]["u"], s["edge"]["p"], s["edge"]["slope"], step, inverse
            )
            grown = _kinetic(p, inverse) - value - energy
            grown = where(grown == grown, grown, math.inf)
            weight = logaddexp(s["weight"], -grown)
            chance = exp(-grown - where(isfinite(weight), weight, 0.0))
            moves = rng.uniform(shape=(), dtype="float64") < chance
            momenta = s["sum"] + p
            number = s["steps"].astype("int64")
            last, first = take(self.last, number), take(self.first, number)
            even = (number & 1) == 0
            stored_row = (rows == last) & even
            column = stored_row[:, None]
            kept_p = where(column, p[None], s["momenta"])
            kept_sum = where(column, momenta[None], s["sums"])
            between = momenta[None] - kept_sum + kept_p
            turns = _turns(inverse, kept_p, p[None], between)
            checked = (rows >= first) & (rows <= last) & ~even
            new = {"u": u, "slope": slope, "value": value}
            return {
                "edge": {"u": u, "p": p, "slope": slope},
                "chosen": _either(moves, new, s["chosen"]),
                "weight": weight, "sum": momenta, "turning": some(turns & checked),
                "diverging": grown > DIVERGENT,
                "acceptance": s["acceptance"] + minimum(exp(-grown), 1.0),
                "steps": s["steps"] + 1.0, "momenta": kept_p, "sums": kept_sum,
            }  # fmt: skip

        return while_loop(goes_on, leaf, start)


def _either(condition: Any, if_true: Tree, if_false: Tree) -> Tree:
    return {name: where(condition, if_true[name], if_false[name]) for name in if_false}


def _turns(inverse: Any, first: Any, last: Any, momenta: Any) -> Any:
    """Return whether the ends of a trajectory move towards each other (Betancourt, A.4.2)."""
    inner = (momenta - (first + last) * 0.5) * inverse
    return (total(first * inner, -1) <= 0.0) | (total(last * inner, -1) <= 0.0)


# -- diagnostics ----------------------------------------------------------------------------------


def _split(draws: Any) -> Any:
    """Halves of chains as chains of their own: (chains, draws, ...)."""
    draws = np.asarray(draws, np.float64)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ArgumentError(f"draws of the shape {draws.shape} are not (chains, draws, ...)")
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _rank_normalize(chains: Any) -> Any:
    """Normal scores of the ranks among all draws (Blom)."""
    flat = chains.reshape(-1, *chains.shape[2:])
    ranks = np.argsort(np.argsort(flat, axis=0, kind="stable"), axis=0, kind="stable") + 1.0
    return norm.ppf((ranks - 0.375) / (len(flat) + 0.25)).reshape(chains.shape)


def _rhat(chains: Any) -> Any:
    count = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(((count - 1) / count * within + between) / within)


@public
def rhat(draws: Any) -> Any:
    """Return the rank-normalized split R-hat of draws (chains, draws, ...): near 1 is well.

    >>> draws = np.random.default_rng(0).normal(size=(4, 1000))
    >>> sg.stats.rhat(draws).round(2)
    np.float64(1.0)
    """
    chains = _split(draws)
    folded = np.abs(chains - np.median(chains, axis=(0, 1)))
    return np.maximum(_rhat(_rank_normalize(chains)), _rhat(_rank_normalize(folded)))[()]


@public
def ess(draws: Any) -> Any:
    """Return the bulk effective sample size of draws (chains, draws, ...).

    >>> draws = np.random.default_rng(0).normal(size=(4, 1000))
    >>> bool(sg.stats.ess(draws) > 2000)
    True
    """
    chains = _rank_normalize(_split(draws))
    many, count = chains.shape[:2]
    centred = chains - chains.mean(axis=1, keepdims=True)
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=1)[:, :count] / count
    within = covariance[:, 0].mean(axis=0) * count / (count - 1)
    total_variance = within * (count - 1) / count
    if many > 1:
        total_variance = total_variance + chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1.0 - (within - covariance.mean(axis=0) * count / (count - 1)) / total_variance
    rho[0] = 1.0
    even = rho[: count // 2 * 2].reshape(count // 2, 2, *rho.shape[1:]).sum(axis=1)
    positive = np.cumprod(even > 0.0, axis=0) > 0  # Geyer's initial positive, monotone sequence
    falling = np.minimum.accumulate(np.where(positive, even, 0.0), axis=0)
    tau = -1.0 + 2.0 * falling.sum(axis=0)
    tau = np.maximum(tau, 1.0 / np.log10(many * count))
    return (many * count / tau)[()]
