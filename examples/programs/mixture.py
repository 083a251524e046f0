"""A mixture of three Gaussians, as likely as can be: the steps of L-BFGS are a loop."""

import math

import numpy as np
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-6
CENTRES = np.array([[-3.0, 0.0], [0.0, 2.0], [3.0, -1.0]])


def data(count: int = 400) -> Array:
    rng = np.random.default_rng(0)
    spread = np.array([[0.5], [0.8], [0.4]])
    of = rng.choice(3, size=count, p=[0.5, 0.3, 0.2])
    found: Array = CENTRES[of] + rng.normal(size=(count, 2)) * spread[of]
    return found


def surprise(mixture: dict[str, sg.Value], points: sg.Value) -> sg.Value:
    """The mean of minus the logarithm of the density; each Gaussian by its matrix of rows L^-1."""
    away = points[:, None] - mixture["means"]  # [point, Gaussian, 2]
    size, turn = sg.exp(mixture["sizes"]), mixture["turns"]
    first = away[..., 0] * size[:, 0]
    second = (away[..., 1] + turn * away[..., 0]) * size[:, 1]
    logs = sg.nn.log_softmax(mixture["shares"]) + mixture["sizes"].sum(-1)
    logs = logs - 0.5 * (first**2 + second**2)
    return math.log(2 * math.pi) - sg.nn.logsumexp(logs, -1).mean()


def run(way: Way) -> Found:
    points = data()
    opt = sg.optim.LBFGS(max_iter=100, tolerance_grad=1e-7)
    rng = np.random.default_rng(1)
    start = {
        "shares": np.zeros(3),
        "means": points[rng.choice(len(points), 3, replace=False)],
        "sizes": np.zeros((3, 2)),
        "turns": np.zeros(3),
    }

    def fit(
        points: sg.Value, shares: sg.Value, means: sg.Value, sizes: sg.Value, turns: sg.Value
    ) -> dict[str, sg.Value]:
        mixture = {"shares": shares, "means": means, "sizes": sizes, "turns": turns}
        found = opt.minimum(surprise, mixture, points)
        x: dict[str, sg.Value] = found.x
        return {**x, "value": found.value, "largest": found.slope}

    fitted: Found = way(fit)(points, *start.values())
    return fitted


def check(found: Found) -> None:
    assert found["largest"] < 1e-7
    order = np.argsort(found["means"][:, 0])
    np.testing.assert_allclose(found["means"][order], CENTRES, atol=0.15)
    shares = np.exp(found["shares"]) / np.exp(found["shares"]).sum()
    np.testing.assert_allclose(shares[order], [0.5, 0.3, 0.2], atol=0.06)


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
