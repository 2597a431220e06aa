"""What a scene is made of: things in layers, seen through a pinhole camera.

A thing carries a signed distance to its outline, the law of its class, and the law of how far an annotator's outline
lies outside the drawn one. Both laws are part of the scene; what an annotator makes of them never reaches the pixels.
Metres: X to the right of the camera, Y up from the ground, Z ahead. Pixels: x right, y down.
"""

from dataclasses import dataclass

import numpy as np

CAMERA_HEIGHT = 1.5

Law = dict[int, float]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Thing:
    """Something in front of what lies behind it.

    :param window: the part of the image that it may touch.
    :param distance: (h, w) of the window, pixels to the outline, negative inside.
    :param softness: the outline's offset has a triangular law on plus and minus so many pixels.
    :param law: the probability of each class that it may be taken for.
    :param colour: (h, w, 3), before lighting.
    """

    window: Window
    distance: np.ndarray
    softness: float
    law: Law
    colour: np.ndarray

    def cover(self) -> np.ndarray:
        """Return the probability that a pixel lies within the outline, which is how opaque it is drawn."""
        x = np.clip(self.distance / max(self.softness, 1e-6), -1, 1)
        return np.where(x < 0, 1 - 0.5 * (1 + x) ** 2, 0.5 * (1 - x) ** 2)


@dataclass(frozen=True)
class Scene:
    """A scene: sky, things from far to near, and the pixels that nobody labels."""

    sky: np.ndarray
    things: list[Thing]
    unlabelled: np.ndarray


def posterior(rng: np.random.Generator, priors: Law, means: Law, sd: float) -> tuple[float, Law]:
    """Draw a tone from a mixture of normals, one a class, and return it with each class's probability given it."""
    classes = list(priors)
    tone = rng.normal(means[classes[rng.choice(len(classes), p=list(priors.values()))]], sd)
    weights = {k: priors[k] * np.exp(-0.5 * ((tone - means[k]) / sd) ** 2) for k in classes}
    return float(tone), {k: float(weight / sum(weights.values())) for k, weight in weights.items()}


def texture(rng: np.random.Generator, size: tuple[int, int], cell: float) -> np.ndarray:
    """Return smooth noise of unit variance on the coarse grid, with bumps ``cell`` pixels wide."""
    grid = rng.standard_normal([max(2, round(n / cell) + 1) for n in size])
    for axis, n in enumerate(size):
        at = np.linspace(0, grid.shape[axis] - 1, n)
        low = np.minimum(at.astype(int), grid.shape[axis] - 2)
        part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        grid = grid.take(low, axis) * (1 - part) + grid.take(low + 1, axis) * part
    return grid


@dataclass(frozen=True)
class Block:
    """A box as it is seen.

    :param on_end: (1, w) whether a column shows the end that faces the camera, or the flank.
    :param along: (1, w) metres from the edge between the two.
    :param up: (h, w) metres above the ground.
    """

    window: Window
    distance: np.ndarray
    softness: float
    on_end: np.ndarray
    along: np.ndarray
    up: np.ndarray


class View:
    """A camera in a street, the textures of its picture, and the things put before it so far."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
        height, width = size
        self.size = size
        self.x, self.y = np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5
        self.unit = height / 96
        self.focal = 0.95 * height
        self.vanish = width * rng.uniform(0.38, 0.62)
        self.horizon = height * rng.uniform(0.40, 0.50)
        self.fine = texture(rng, size, 1.0)
        self.grain = texture(rng, size, 3 * self.unit)
        self.blotch = texture(rng, size, 14 * self.unit)
        self.haze = np.array([0.72, 0.76, 0.80]) + rng.normal(0, 0.03, 3)
        self.things: list[Thing] = []
        self.everywhere: Window = (slice(0, height), slice(0, width))

    def column(self, x: float, depth: float) -> float:
        """Return the pixel column of what stands x metres to the right."""
        return self.vanish + self.focal * x / depth

    def row(self, y: float, depth: float) -> float:
        """Return the pixel row of what hangs y metres above the ground."""
        return self.horizon + self.focal * (CAMERA_HEIGHT - y) / depth

    def window(self, left: float, top: float, right: float, bottom: float, margin: float) -> Window:
        """Return the part of the image that a box and its soft rim touch; empty if it lies outside."""
        ends = []
        for low, high, size in ((top, bottom, self.size[0]), (left, right, self.size[1])):
            start = min(max(int(low - margin) - 1, 0), size)
            ends.append(slice(start, min(max(int(high + margin) + 2, start), size)))
        return ends[0], ends[1]

    def at(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns (1, w) and the rows (h, 1) of a window's pixels."""
        return self.x[:, window[1]], self.y[window[0]]

    def box(self, window: Window, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """Return the distance to the outline of a box."""
        x, y = self.at(window)
        return np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom))

    def ellipse(self, window: Window, x: float, y: float, across: float, down: float) -> np.ndarray:
        """Return the distance to the outline of an upright ellipse, nearly."""
        columns, rows = self.at(window)
        return (np.hypot((columns - x) / across, (rows - y) / down) - 1) * min(across, down)

    def block(self, depth: float, x: float, width: float, length: float, height: float, blur: float) -> "Block":
        """Return a box that shows its end, ``width`` outward from x, and its flank along the street at x."""
        side = np.sign(x)
        near, far, rim = self.column(x, depth), self.column(x, depth + length), self.column(x + side * width, depth)
        softness = self.outline(depth, blur)
        top = min(self.row(height, depth), self.row(height, depth + length))
        window = self.window(min(far, rim), top, max(far, rim), self.row(0.0, depth), softness)
        columns, rows = self.at(window)
        out = np.clip(side * (columns - self.vanish), side * (far - self.vanish), side * (near - self.vanish))
        on_end = side * (columns - near) > 0
        rise, fall = (height - CAMERA_HEIGHT) / abs(x), CAMERA_HEIGHT / abs(x)
        above = (self.horizon - rows - rise * out) / np.where(on_end, 1, np.hypot(1, rise))
        below = (rows - self.horizon - fall * out) / np.where(on_end, 1, np.hypot(1, fall))
        beside = np.maximum(side * (far - columns), side * (columns - rim))
        away = self.focal * abs(x) / out
        up = CAMERA_HEIGHT - (rows - self.horizon) * away / self.focal
        along = np.where(on_end, side * (columns - near) * depth / self.focal, away - depth)
        return Block(window, np.maximum(np.maximum(above, below), beside), softness, on_end, along, up)

    def outline(self, depth: float, metres: float) -> float:
        """Return in pixels how far outlines may be off: a camera's blur, and so many metres."""
        return 0.5 * self.unit + metres * self.focal / depth

    def add(self, window: Window, distance: np.ndarray, softness: float, law: Law, colour: np.ndarray, depth: float):
        """Put a thing in front of the others, behind the haze of its depth, unless it lies outside the image."""
        clear = np.exp(-depth / 90)
        space = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        if 0 in space:
            return
        colour = np.clip(np.broadcast_to(colour, (*space, 3)) * clear + self.haze * (1 - clear), 0, 1)
        self.things.append(Thing(window, np.broadcast_to(distance, space), softness, law, colour))
