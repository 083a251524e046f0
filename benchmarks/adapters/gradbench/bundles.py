"""Bundle adjustment: errors of points that cameras see, and their sparse Jacobian.

A camera is a rotation (an axis times its angle), a center, a focal length, a principal point and
two coefficients of radial distortion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgrad as sg

#: Numbers of a camera, and of a row of the Jacobian: a camera's, a point's, a weight's.
CAMERA, ROW = 11, 15


def rotate(rotation: Any, x: Any) -> Any:
    """Rotate a point by Rodrigues' formula."""
    square = (rotation * rotation).sum()
    angle = np.sqrt(np.where(square > 0, square, 1.0))
    axis = rotation / angle
    turned = np.cross(axis, x) * np.sin(angle) + axis * (axis @ x) * (1.0 - np.cos(angle))
    return np.where(square > 0, x * np.cos(angle) + turned, x + np.cross(rotation, x))


def errors_of(camera: Any, x: Any, weight: Any, feature: Any) -> Any:
    """The weighted distance of a point, as a camera sees it, from the feature that was measured."""
    seen = rotate(camera[:3], x - camera[3:6])
    flat = seen[:2] / seen[2]
    square = (flat * flat).sum()
    distorted = flat * (1.0 + camera[9] * square + camera[10] * square * square)
    return weight * (distorted * camera[6] + camera[7:9] - feature)


def observations(
    cameras: Any, points: Any, weights: Any, features: Any, seen: Any
) -> tuple[Any, ...]:
    """The camera, point, weight and feature of each observation."""
    return cameras[seen[:, 0]], points[seen[:, 1]], weights, features


def errors(cameras: Any, points: Any, weights: Any, features: Any, seen: Any) -> Any:
    """Errors of all observations, and of all weights."""
    distances = sg.vmap(errors_of)(*observations(cameras, points, weights, features, seen))
    return distances, 1.0 - weights * weights


def jacobian(cameras: Any, points: Any, weights: Any, features: Any, seen: Any) -> dict[str, Any]:
    """Derivatives of the errors in rows: where each row begins, columns and numbers."""
    differentiate: Any = sg.vmap(sg.jacobian(errors_of, argnums=(0, 1, 2)))
    slopes = differentiate(*observations(cameras, points, weights, features, seen))
    by_camera, by_point, by_weight = slopes
    count, where = len(weights), np.arange(len(weights))
    blocks = np.concatenate([by_camera, by_point, by_weight[:, :, None]], axis=2)
    first_of_points = CAMERA * len(cameras)
    first_of_weights = first_of_points + 3 * len(points)
    columns = np.concatenate(
        [
            CAMERA * seen[:, :1] + np.arange(CAMERA),
            first_of_points + 3 * seen[:, 1:] + np.arange(3),
            first_of_weights + where[:, None],
        ],
        axis=1,
    )
    twice = np.broadcast_to(columns[:, None], (count, 2, ROW))
    return {
        "rows": np.concatenate(
            [ROW * np.arange(2 * count), 2 * ROW * count + np.arange(count + 1)]
        ),
        "cols": np.concatenate([twice.reshape(-1), first_of_weights + where]),
        "vals": np.concatenate([blocks.reshape(-1), -2.0 * weights]),
    }


def read(inputs: dict[str, Any]) -> tuple[Any, ...]:
    """One camera, point, weight and feature, as often as the input says; all pairs in turn."""
    cameras, points, count = inputs["n"], inputs["m"], inputs["p"]
    numbers = np.arange(count)
    return (
        np.tile(np.array(inputs["cam"], "float64"), (cameras, 1)),
        np.tile(np.array(inputs["x"], "float64"), (points, 1)),
        np.full(count, float(inputs["w"])),
        np.tile(np.array(inputs["feat"], "float64"), (count, 1)),
        np.stack([numbers % cameras, numbers % points], axis=1),
    )


def write_errors(result: Any) -> dict[str, Any]:
    distances, of_weights = map(np.asarray, result)
    return {
        "reproj_error": {"elements": distances[0].tolist(), "repeated": len(distances)},
        "w_err": {"element": float(of_weights[0]), "repeated": len(of_weights)},
    }


def write_jacobian(result: Any) -> dict[str, Any]:
    """The first thirty elements and the last one of each part."""
    parts = {name: np.asarray(part) for name, part in result.items()}
    return {name: [*part[:30].tolist(), part[-1].item()] for name, part in parts.items()}
