"""Many points as a picture in which none hides another: each pixel shows the mean colour of what lies there.

Shape suffixes: N points; H, W pixels.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve

__all__ = ["shade"]

_FAINTEST = 0.5


def shade(
    place_N2: np.ndarray,
    colour_N3: np.ndarray,
    box: tuple[float, float, float, float],
    *,
    pixels: int = 1200,
    radius: float = 1.5,
) -> np.ndarray:
    """(H, W, 4) uint8 picture, first row at the top, transparent where nothing lies.

    Opacity rises with the logarithm of the number of points, so that a lone point can be seen and a crowd stands out.

    Args:
        colour_N3: red, green, blue from 0 to 1.
        box: left, right, bottom, top of the picture in the points' units.
        pixels: W; H follows from the box.
        radius: of a point, in pixels.
    """
    left, right, bottom, top = box
    width, height = pixels, max(1, round(pixels * (top - bottom) / (right - left)))
    column = np.clip(((place_N2[:, 0] - left) / (right - left) * width).astype(np.int64), 0, width - 1)
    row = np.clip(((top - place_N2[:, 1]) / (top - bottom) * height).astype(np.int64), 0, height - 1)
    cell = row * width + column
    disc = _disc(radius)

    def spread(weight_N: np.ndarray | None) -> np.ndarray:
        flat = np.bincount(cell, weight_N, minlength=height * width).reshape(height, width).astype(np.float32)
        return convolve(flat, disc, mode="constant")

    count = spread(None)
    drawn = count > 0.05
    picture = np.zeros((height, width, 4), dtype=np.float32)
    for channel in range(3):
        picture[..., channel] = np.where(drawn, spread(colour_N3[:, channel]) / np.maximum(count, 1e-6), 0.0)
    crowd = np.log1p(np.quantile(count[drawn], 0.98)) if drawn.any() else 1.0
    solid = _FAINTEST + (1 - _FAINTEST) * np.minimum(np.log1p(count) / crowd, 1.0)
    picture[..., 3] = np.where(drawn, solid * np.minimum(count, 1.0), 0.0)
    return (255 * np.clip(picture, 0.0, 1.0)).round().astype(np.uint8)


def _disc(radius: float) -> np.ndarray:
    """A disc with soft edges, 1 in the middle."""
    reach = max(1, int(np.ceil(radius)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0).astype(np.float32)
