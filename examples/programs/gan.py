"""A generator and a critic with an optimizer each: points on a circle from noise (arXiv 1406.2661).

Both losses stand in one function. What each optimizer steps is listed, so that neither steps the
other's parameters.
"""

import numpy as np
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-3
nn = sg.nn


def network(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


def run(way: Way, steps: int = 1500, batch: int = 128) -> Found:
    nn.manual_seed(0)
    generator, critic = network(2, 2), network(2, 1)
    of_generator = sg.optim.Adam(1e-3, beta1=0.5)
    of_critic = sg.optim.Adam(2e-3, beta1=0.5, name="critic")
    noise, fresh = sg.random.Generator(0), sg.random.Generator(1)

    def made(count: int, noise: sg.random.Generator) -> sg.Value:
        return generator(noise.normal(shape=(count, 2)))

    def step(real: sg.Value) -> dict[str, sg.Value]:
        fake = made(batch, noise)
        doubt, belief = critic(real), critic(fake)
        loss = (nn.softplus(-doubt) + nn.softplus(belief)).mean()
        fooled = nn.softplus(-belief).mean()
        of_critic.minimize(loss, critic)
        of_generator.minimize(fooled, generator)
        return {"critic": loss, "generator": fooled}

    stepped, rng, losses = way(step), np.random.default_rng(0), list[list[Array]]()
    for _ in range(steps):
        angle = rng.uniform(0, 2 * np.pi, size=batch)
        circle = np.stack([np.cos(angle), np.sin(angle)], 1).astype("float32")
        losses.append([*stepped(circle).values()])
    return {"losses": np.array(losses), "points": way(lambda: made(500, fresh))()}


def check(found: Found) -> None:
    radius = np.hypot(*found["points"].T)
    assert abs(np.median(radius) - 1) < 0.2
    assert np.abs(found["points"].mean(0)).max() < 0.3


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
