"""A head in 3-D, turned by the words of Pose, and drawn: nobody's face."""

import cv2
import numpy as np


def turn(points, yaw=0.0, pitch=0.0, roll=0.0):
    """Points (x to the right, y down, z away) after they turned to the right edge, then up, then leaned clockwise."""
    y, p, r = np.radians([yaw, pitch, roll])
    lean = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    right = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    up = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return points @ (lean @ right @ up).T


def _surface():
    """An egg with a nose, eye sockets, brows and lips: its points (rows, columns, 3) and how light each is, 0 to 1."""
    down, around = np.linspace(0, np.pi, 61)[:, None], np.linspace(0, 2 * np.pi, 121)
    x, y, z = 0.72 * np.sin(down) * np.sin(around), -np.cos(down) + 0 * around, -0.85 * np.sin(down) * np.cos(around)
    x = x * (1 - 0.35 * np.clip(y - 0.2, 0, None))
    side, front = np.abs(x), z < 0

    def spot(from_middle, height, width, tall):
        return np.exp(-(((side - from_middle) / width) ** 2) - ((y - height) / tall) ** 2)

    nose = 0.22 * spot(0, 0.22, 0.10, 0.09) + 0.12 * spot(0, 0, 0.07, 0.22)
    brows, sockets = 0.05 * spot(0.26, -0.24, 0.2, 0.05), 0.08 * spot(0.27, -0.08, 0.13, 0.08)
    z = z - front * (nose + brows - sockets + 0.04 * spot(0, 0.52, 0.2, 0.07))
    eyes, eyebrows = 0.65 * spot(0.27, -0.08, 0.09, 0.035), 0.55 * spot(0.27, -0.25, 0.15, 0.03)
    mouth, nostrils = 0.45 * spot(0, 0.52, 0.17, 0.035), 0.3 * spot(0.06, 0.29, 0.035, 0.02)
    skin = 0.85 - front * (eyes + eyebrows + mouth + nostrils)
    hair = (y < -0.55) | ((z > 0.05) & (y < 0.35))
    return np.stack([x, y, z], axis=-1), np.where(hair, 0.2, skin)


def draw_head(yaw=0.0, pitch=0.0, roll=0.0, side=48):
    """The turned head before a light wall, lit from above: a picture (side, side, 3), framed as FERPlus's are."""
    points, light = _surface()
    points = turn(points, yaw, pitch, roll)
    corners = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2).reshape(-1, 4, 3)
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals *= np.sign((normals * corners.mean(axis=1)).sum(axis=1, keepdims=True))  # outwards
    shade = 0.45 + 0.55 * np.clip(normals @ (0.2, -0.4, -0.89), 0, 1)
    grey = 255 * shade * ((light[:-1, :-1] + light[1:, 1:]) / 2).ravel()
    large = 4 * side
    picture = np.full((large, large), 200, np.uint8)
    on_picture = (corners[:, :, :2] * 1.15 + (1, 0.9)) * large / 2
    for face in np.argsort(-corners[:, :, 2].mean(axis=1)):  # what is nearer covers what is farther
        cv2.fillConvexPoly(picture, np.round(on_picture[face] * 16).astype(np.int32), grey[face], cv2.LINE_AA, shift=4)
    return np.repeat(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)[..., None], 3, axis=2)
