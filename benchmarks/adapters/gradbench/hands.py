"""Hand tracking: distances of measured points from the surface of a hand in a pose.

A pose is 26 numbers: a rotation (an axis times its angle), a translation, and four angles of each
finger. The surface follows its bones with weights (linear blend skinning).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgrad as sg

FINGERS, JOINTS = 5, 3
#: Rows of angles before the fingers': of the wrist's bones.
WRIST = 2


def angles(theta: Any, bones: int) -> Any:
    """The Euler angles of each bone; a finger bends at three joints and spreads at the first."""
    places = np.zeros((bones, 3), "int64")  # 0: no angle
    number = 7
    for finger in range(FINGERS):
        for joint in range(JOINTS):
            bone = WRIST + (JOINTS + 1) * finger + joint
            places[bone, 0] = number
            number += 1
            if joint == 0:
                places[bone, 1] = number
                number += 1
    return np.concatenate([np.zeros(1), theta])[places]


def rotations_about(axis: int, angle: Any) -> Any:
    """Rotations about an axis of coordinates by angles: 3 x 3 matrices."""
    cos, sin = np.cos(angle), np.sin(angle)
    ones, zeros = np.ones(angle.shape), np.zeros(angle.shape)
    rows = {
        0: [[ones, zeros, zeros], [zeros, cos, -sin], [zeros, sin, cos]],
        1: [[cos, zeros, sin], [zeros, ones, zeros], [-sin, zeros, cos]],
        2: [[cos, -sin, zeros], [sin, cos, zeros], [zeros, zeros, ones]],
    }[axis]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_of(axis_angle: Any) -> Any:
    """The matrix of a rotation by Rodrigues' formula; none below an angle of 1e-4."""
    square = (axis_angle * axis_angle).sum()
    is_small = square < 1e-8
    angle = np.sqrt(np.where(is_small, 1.0, square))
    x, y, z = (axis_angle[k] / angle for k in range(3))
    zeros = 0.0 * x
    across = np.stack([
        np.stack([zeros, -z, y]), np.stack([z, zeros, -x]), np.stack([-y, x, zeros]),
    ])  # fmt: skip
    turned = np.eye(3) + np.sin(angle) * across + (1.0 - np.cos(angle)) * (across @ across)
    return np.where(is_small, np.eye(3), turned)


def vertices(theta: Any, model: Any, parents: tuple[int, ...], is_mirrored: bool) -> Any:
    """The places of the surface's vertices in a pose."""
    bent = angles(theta, len(parents))
    turns = (
        rotations_about(2, bent[:, 1])
        @ rotations_about(1, bent[:, 2])
        @ rotations_about(0, bent[:, 0])
    )
    below = np.broadcast_to(np.array([0.0, 0.0, 0.0, 1.0]), (len(parents), 1, 4))
    beside = np.zeros((len(parents), 3, 1))
    turns = np.concatenate([np.concatenate([turns, beside], axis=2), below], axis=1)
    relatives = model["base_relatives"] @ turns
    absolutes: list[Any] = []
    for bone, parent in enumerate(parents):
        absolutes.append(relatives[bone] if parent == -1 else absolutes[parent] @ relatives[bone])
    transforms = np.stack(absolutes) @ model["inverse_base_absolutes"]
    places = model["base_positions"] @ np.swapaxes(transforms[:, :3], 1, 2)  # bone, vertex, place
    skin = (places * np.swapaxes(model["weights"], 0, 1)[:, :, None]).sum(axis=0)
    if is_mirrored:
        skin = skin * np.array([-1.0, 1.0, 1.0])
    return skin @ rotation_of(theta[:3]).T + theta[3:6]


def distances(
    theta: Any,
    us: Any,
    model: Any,
    points: Any,
    correspondences: Any,
    parents: tuple[int, ...],
    is_mirrored: bool,
) -> Any:
    """Distances of points from vertices; with ``us`` from places in triangles, by two shares."""
    skin = vertices(theta, model, parents, is_mirrored)
    if us is None:
        return (points - skin[correspondences]).reshape(-1)
    corners = model["triangles"][correspondences]
    first, second = us[:, :1], us[:, 1:]
    places = first * skin[corners[:, 0]] + second * skin[corners[:, 1]]
    return (points - places - (1.0 - first - second) * skin[corners[:, 2]]).reshape(-1)


def jacobian(theta: Any, us: Any, *data: Any) -> Any:
    """Derivatives by the pose, behind those of each point by its own two shares, if it has them.

    A point reads its own shares alone, so a shift of all shares has the derivatives of each.
    """
    if us is None:
        return sg.jacobian(lambda pose: distances(pose, None, *data))(theta)
    return sg.jacobian(lambda shifted: distances(shifted[2:], us + shifted[:2], *data))(
        np.concatenate([np.zeros(2), theta])
    )


def read(inputs: dict[str, Any]) -> tuple[Any, ...]:
    data = inputs["data"]
    model = data["model"]
    floats = ("base_relatives", "inverse_base_absolutes", "base_positions", "weights")
    arrays = {name: np.array(model[name], "float64") for name in floats}
    arrays["triangles"] = np.array(model["triangles"], "int64")
    us = np.array(inputs["us"], "float64")
    return (
        np.array(inputs["theta"], "float64"),
        us.reshape(-1, 2) if us.size else None,
        arrays,
        np.array(data["points"], "float64"),
        np.array(data["correspondences"], "int64"),
        tuple(model["parents"]),
        bool(model["is_mirrored"]),
    )
