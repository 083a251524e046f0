"""Bundle adjustment: where cameras and points are, from where the points are seen.

Levenberg and Marquardt's method. Each observation depends on one camera and one point, so that its
derivatives are two small blocks, by ``vmap`` of ``jacobian``; the points are eliminated from the
normal equations (Schur complement; Triggs et al., Bundle adjustment: a modern synthesis, 2000).
"""

import numpy as np
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-7
CAMERAS, POINTS = 4, 20


def rotated(turn: sg.Value, x: sg.Value) -> sg.Value:
    """x turned about an axis by an angle, both given by one vector (Rodrigues' formula)."""
    angle = sg.sqrt((turn * turn).sum() + 1e-16)
    axis = turn / angle
    along = (axis * x).sum() * axis
    return sg.cos(angle) * (x - along) + sg.sin(angle) * sg.cross(axis, x) + along


def seen(camera: sg.Value, point: sg.Value) -> sg.Value:
    """Where a camera (turn, place, focal length) sees a point."""
    x = rotated(camera[:3], point) + camera[3:6]
    return camera[6] * x[:2] / x[2]


def scene() -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, size=(POINTS, 3))
    cameras = np.concatenate([rng.normal(size=(CAMERAS, 3)) * 0.2, np.zeros((CAMERAS, 4))], 1)
    cameras[:, 5], cameras[:, 6] = 4.0, 2.0
    return cameras, points, rng.normal(size=(CAMERAS, 7)) * 0.03, rng.normal(size=(POINTS, 3)) * 0.1


def run(way: Way, steps: int = 12) -> Found:
    cameras, points, away, off = scene()
    pairs = np.stack(np.meshgrid(np.arange(CAMERAS), np.arange(POINTS), indexing="ij"))
    of_camera, of_point = pairs.reshape(2, -1)

    def observations(cameras: sg.Value, points: sg.Value) -> sg.Value:
        return sg.vmap(seen)(cameras[of_camera], points[of_point])

    observed = way(observations)(cameras, points)

    def residuals(cameras: sg.Value, points: sg.Value) -> sg.Value:
        return observations(cameras, points) - observed

    def step(cameras: sg.Value, points: sg.Value, damping: sg.Value) -> dict[str, sg.Value]:
        r = residuals(cameras, points)
        blocks = sg.vmap(sg.jacobian(seen, (0, 1)))(cameras[of_camera], points[of_point])
        by_camera = blocks[0].reshape(CAMERAS, POINTS, 2, 7)
        by_point = blocks[1].reshape(CAMERAS, POINTS, 2, 3)
        r = r.reshape(CAMERAS, POINTS, 2)
        of_cameras = sg.einsum("cpia,cpib->cab", by_camera, by_camera)
        of_points = sg.einsum("cpia,cpib->pab", by_point, by_point)
        mixed = sg.einsum("cpia,cpib->cpab", by_camera, by_point)
        g_cameras = sg.einsum("cpia,cpi->ca", by_camera, r)
        g_points = sg.einsum("cpia,cpi->pa", by_point, r)
        inverse = sg.linalg.inv(of_points + damping * np.eye(3))
        left = sg.einsum("cpab,pbd->cpad", mixed, inverse)
        schur = -sg.einsum("cpad,epbd->caeb", left, mixed)
        own = sg.einsum("ce,cab->caeb", np.eye(CAMERAS), of_cameras + damping * np.eye(7))
        size = 7 * CAMERAS
        right = g_cameras - sg.einsum("cpab,pb->ca", left, g_points)
        moved = sg.linalg.solve((own + schur).reshape(size, size), right.reshape(size))
        moved = moved.reshape(CAMERAS, 7)
        shifted = sg.einsum(
            "pab,pb->pa", inverse, g_points - sg.einsum("cpab,ca->pb", mixed, moved)
        )
        new_cameras, new_points = cameras - moved, points - shifted
        before, after = (r * r).sum(), (residuals(new_cameras, new_points) ** 2).sum()
        is_less = after < before
        return {
            "cameras": sg.where(is_less, new_cameras, cameras),
            "points": sg.where(is_less, new_points, points),
            "damping": sg.where(is_less, damping * 0.1, damping * 10.0),
            "error": before,
        }

    better, errors = way(step), list[Array]()
    found = {"cameras": cameras + away, "points": points + off, "damping": np.array(1e-2)}
    for _ in range(steps):
        found = better(found["cameras"], found["points"], found["damping"])
        errors.append(found["error"])
    return {"errors": np.array(errors), "points": found["points"]}


def check(found: Found) -> None:
    assert found["errors"][0] > 0.1
    assert found["errors"][-1] < 1e-16


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
