"""Streets that annotators disagree about, with things put where streets have them."""

from collections.abc import Callable
from functools import partial

import numpy as np

from calibrant.data.synthetic._view import CAMERA_HEIGHT, Law, Scene, View, posterior, texture

CLASSES = ("road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car", "truck")
ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, SKY, PERSON, CAR, TRUCK = range(len(CLASSES))

SHARED_PAVING = {SIDEWALK: 9 / 17, ROAD: 8 / 17}
OVERGROWN_FACADE = {BUILDING: 12 / 17, VEGETATION: 5 / 17}
VAN = {CAR: 11 / 17, TRUCK: 6 / 17}

# What it is taken for; height, width and length in metres: a car, a van, a truck.
VEHICLES = (({CAR: 1.0}, 1.45, 1.8, 4.2), (VAN, 2.05, 1.95, 5.0), ({TRUCK: 1.0}, 3.2, 2.4, 8.0))

WALLS = ((0.62, 0.56, 0.48), (0.55, 0.38, 0.32), (0.48, 0.48, 0.50), (0.70, 0.66, 0.58), (0.42, 0.36, 0.34))
PAINTS = ((0.15, 0.15, 0.17), (0.75, 0.75, 0.77), (0.50, 0.52, 0.55), (0.55, 0.12, 0.12), (0.15, 0.22, 0.42))

Piece = tuple[float, Callable[[float, int], None], int]


class StreetBuilder:
    """Puts a street together, far to near; everything random comes from ``rng``."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
        self.rng = rng
        self.view = View(rng, size)
        self.kerb = {side: rng.uniform(3.5, 5.5) for side in (-1, 1)}
        self.front = {side: self.kerb[side] + rng.uniform(2.0, 4.5) for side in (-1, 1)}

    def build(self) -> Scene:
        """Return the street."""
        self._skyline()
        self._ground()
        pieces = []
        for add, least, most, near, far in (
            (self._tree, 0, 3, 7, 40),
            (self._lamp, 1, 4, 7, 40),
            (self._walker, 1, 4, 6, 22),
            (self._far_figure, 1, 4, 20, 45),
            (self._vehicle, 2, 6, 7, 40),
            (self._lump, 0, 3, 18, 40),
        ):
            for _ in range(self.rng.integers(least, most + 1)):
                pieces.append((self.rng.uniform(near, far), add, int(self.rng.choice((-1, 1)))))
        # Far to near; but what stands in the street stands in front of all that lines it.
        for row in (self._fronts(), pieces):
            for depth, add, side in sorted(row, key=lambda piece: -piece[0]):
                add(depth, side)
        return Scene(self._sky(), self.view.things, self._rim_and_bonnet())

    def _paint(self, *rgb: float, spread: float = 0.05) -> np.ndarray:
        return np.array(rgb) + self.rng.normal(0, spread, 3) + self.rng.normal(0, spread)

    # -- what every street has ----------------------------------------------------------------------------------------

    def _sky(self) -> np.ndarray:
        view = self.view
        up = np.clip(1 - view.y / view.horizon, 0, 1)[..., None]
        cloud = np.clip(view.blotch[..., None] * 0.12 + self.rng.uniform(-0.1, 0.15), 0, 0.3)
        return np.clip(view.haze + up * (np.array([0.42, 0.60, 0.86]) - view.haze) + cloud, 0, 1)

    def _skyline(self):
        # Far hills: trees or houses, distinguished by their tone alone.
        view = self.view
        tone, law = posterior(self.rng, {VEGETATION: 0.5, BUILDING: 0.5}, {VEGETATION: -1.0, BUILDING: 1.0}, 0.8)
        top = view.horizon - view.unit * (6 + 2.5 * texture(self.rng, (1, view.size[1]), 9 * view.unit))
        green, grey = np.array([0.36, 0.46, 0.36]), np.array([0.54, 0.50, 0.50])
        colour = green + (tone + 2) / 4 * (grey - green) + 0.03 * view.grain[..., None]
        view.add(view.everywhere, top - view.y, 1.5 * view.unit, law, colour, 40.0)

    def _ground(self):
        view = self.view
        low = np.maximum(view.y - view.horizon, 0.3 * view.unit)
        depth = view.focal * CAMERA_HEIGHT / low
        across = (view.x - view.vanish) * depth / view.focal
        clear = np.exp(-depth / 60)[..., None]
        dash = ((np.abs(across) < 0.12) & (depth % 6 < 3))[..., None] * clear
        asphalt = self._paint(0.36, 0.36, 0.38, spread=0.02) + 0.4 * dash
        asphalt = asphalt + 0.02 * view.fine[..., None] + 0.03 * view.blotch[..., None]
        view.add(view.everywhere, view.horizon - view.y, 0.8 * view.unit, {ROAD: 1.0}, asphalt, 8.0)

        # One paving on both sides of the street; annotators disagree about a shared surface as a whole.
        shared = self.rng.random() < 0.5
        slabs = ((across % 1 < 0.12) | (depth % 1.5 < 0.15))[..., None] * clear
        paving = self._paint(*((0.46, 0.44, 0.43) if shared else (0.60, 0.54, 0.50)), spread=0.02) - 0.08 * slabs
        paving = paving + 0.02 * view.fine[..., None] + 0.02 * view.grain[..., None]
        sides = []
        for side in (-1, 1):
            slope = self.kerb[side] / CAMERA_HEIGHT
            sides.append((slope * low - side * (view.x - view.vanish)) / np.hypot(1, slope))
        distance = np.maximum(view.horizon - view.y, np.minimum(*sides))
        law = SHARED_PAVING if shared else {SIDEWALK: 1.0}
        view.add(view.everywhere, distance, view.unit * (2.0 if shared else 0.7), law, paving, 8.0)

    def _rim_and_bonnet(self) -> np.ndarray:
        view, (height, width) = self.view, self.view.size
        bonnet = np.hypot((view.x - width / 2) / (0.62 * width), (view.y - 1.08 * height) / (0.14 * height)) < 1
        rim = max(1, round(view.unit))
        bonnet[:, :rim] = bonnet[:, -rim:] = bonnet[:rim] = True
        return bonnet

    # -- what lines the street -----------------------------------------------------------------------------------------

    def _fronts(self) -> list[Piece]:
        pieces = []
        for side in (-1, 1):
            depth = self.rng.uniform(3.0, 8.0)
            while depth < 70:
                length = self.rng.uniform(6, 18)
                what = self.rng.choice(4, p=(0.6, 0.12, 0.13, 0.15))  # a house, an overgrown one, a hedge, a gap
                if what < 2:
                    pieces.append((depth, partial(self._house, length=length, overgrown=what == 1), side))
                elif what == 2:
                    pieces.append((depth, partial(self._hedge, length=length), side))
                depth += length
        return pieces

    def _house(self, depth: float, side: int, *, length: float, overgrown: bool):
        block = self.view.block(depth, side * self.front[side], 100.0, length, self.rng.uniform(5, 16), 0.06)
        wall = self._paint(*WALLS[self.rng.integers(len(WALLS))], spread=0.04)
        if overgrown:
            wall = 0.45 * wall + 0.55 * np.array([0.26, 0.40, 0.20])
        along, up = block.along % 3, block.up % 3
        pane = ((along > 0.9) & (along < 2.1) & (up > 1.0) & (up < 2.5))[..., None]
        pane = (
            pane
            * (0.25 if overgrown else 0.8)
            * np.exp(-(depth + np.where(block.on_end, 0, block.along)) / 40)[..., None]
        )
        colour = wall * np.where(block.on_end, 0.86, 1.0)[..., None]
        colour = colour + (0.08 if overgrown else 0.03) * self.view.grain[block.window][..., None]
        colour = colour + pane * (np.array([0.22, 0.25, 0.30]) - colour)
        law = OVERGROWN_FACADE if overgrown else {BUILDING: 1.0}
        self.view.add(block.window, block.distance, block.softness, law, colour, depth)

    def _hedge(self, depth: float, side: int, *, length: float):
        block = self.view.block(depth, side * self.front[side], 100.0, length, self.rng.uniform(1.2, 3.0), 0.2)
        leaves = self._paint(0.24, 0.36, 0.18, spread=0.03) * np.where(block.on_end, 0.86, 1.0)[..., None]
        leaves = leaves + 0.08 * self.view.grain[block.window][..., None]
        self.view.add(block.window, block.distance, block.softness, {VEGETATION: 1.0}, leaves, depth)

    # -- what stands about ---------------------------------------------------------------------------------------------

    def _tree(self, depth: float, side: int):
        view, metre = self.view, self.view.focal / depth
        foot = view.column(side * (self.kerb[side] + 0.6), depth)
        height, crown = self.rng.uniform(4, 8), self.rng.uniform(1.2, 2.2)
        top, middle, bottom = (view.row(up, depth) for up in (height, height - crown, 0.0))
        softness, reach = view.outline(depth, 0.25), 1.5 * crown * metre
        window = view.window(foot - reach, top - reach / 3, foot + reach, bottom, softness)
        rough = 0.25 * crown * metre * np.clip(view.grain[window], -1.5, 1.5)
        leaves = view.ellipse(window, foot, middle, crown * metre, 0.9 * crown * metre) + rough
        trunk = view.box(window, foot - 0.15 * metre, middle, foot + 0.15 * metre, bottom)
        colour = self._paint(0.22, 0.36, 0.16, spread=0.04) + 0.07 * view.fine[window][..., None]
        colour = np.where((trunk < leaves)[..., None], np.array([0.30, 0.24, 0.19]), colour)
        view.add(window, np.minimum(leaves, trunk), softness, {VEGETATION: 1.0}, colour, depth)

    def _lamp(self, depth: float, side: int):
        view, metre = self.view, self.view.focal / depth
        foot = view.column(side * (self.kerb[side] + 0.3), depth)
        top, bottom = view.row(self.rng.uniform(3, 7), depth), view.row(0.0, depth)
        half, end = max(0.15 * metre, 1.3 * view.unit), foot - side * self.rng.uniform(0, 1.2) * metre
        softness = view.outline(depth, 0.0)
        window = view.window(min(foot, end) - half, top, max(foot, end) + half, bottom, softness)
        mast = view.box(window, foot - half, top, foot + half, bottom)
        arm = view.box(window, min(foot, end), top, max(foot, end), top + 1.4 * half)
        view.add(window, np.minimum(mast, arm), softness, {POLE: 1.0}, self._paint(0.22, 0.23, 0.23), depth)

    def _walker(self, depth: float, side: int):
        clothes = self._paint(*self.rng.uniform(0.1, 0.7, 3))
        self._figure(depth, side, {PERSON: 1.0}, clothes, self._paint(0.72, 0.56, 0.46))

    def _far_figure(self, depth: float, side: int):
        # Somebody or a bollard: the same shape, distinguished by the tone alone.
        tone, law = posterior(self.rng, {PERSON: 10 / 17, POLE: 7 / 17}, {PERSON: 1.0, POLE: -1.0}, 1.0)
        colour = np.array([0.45, 0.35, 0.34]) + tone * np.array([0.16, 0.03, -0.06])
        self._figure(depth, side, law, colour, colour)

    def _figure(self, depth: float, side: int, law: Law, clothes: np.ndarray, skin: np.ndarray):
        view, metre = self.view, self.view.focal / depth
        foot = view.column(side * self.rng.uniform(self.kerb[side] - 1.0, self.front[side] - 0.5), depth)
        top, bottom = view.row(self.rng.uniform(1.55, 1.9), depth), view.row(0.0, depth)
        softness = view.outline(depth, 0.05)
        window = view.window(foot - 0.3 * metre, top, foot + 0.3 * metre, bottom, softness)
        head = view.ellipse(window, foot, top + 0.13 * metre, 0.14 * metre, 0.16 * metre)
        trunk = view.ellipse(window, foot, top + 0.62 * metre, 0.27 * metre, 0.45 * metre)
        legs = view.box(window, foot - 0.17 * metre, top + 0.8 * metre, foot + 0.17 * metre, bottom)
        body = np.minimum(trunk, legs)
        shade = np.where(legs < trunk, 0.55, 1.0)[..., None]
        colour = np.where((head < body)[..., None], skin, clothes * shade)
        view.add(window, np.minimum(head, body), softness, law, colour, depth)

    def _vehicle(self, depth: float, side: int):
        law, height, width, length = VEHICLES[self.rng.choice(3, p=(0.55, 0.3, 0.15))]
        parked = self.rng.random() < 0.7
        inner = (self.kerb[side] - 1.1 if parked else self.kerb[side] / 2) - width / 2
        block = self.view.block(depth, side * inner, width, length, height, 0.06 if parked else 0.15)
        up, across, rear = block.up, block.along, block.on_end
        paint = self._paint(*PAINTS[self.rng.integers(len(PAINTS))])
        colour = np.where(rear, 1.0, 0.7)[..., None] * paint + np.zeros((*up.shape, 1))
        inside = np.where(rear, (across > 0.2) & (across < width - 0.2), across % 1.2 > 0.2)
        colour[inside & (up > height - 0.55) & (up < height - 0.12)] = (0.16, 0.19, 0.23)
        corner = rear & ((across < 0.3) | (across > width - 0.3))
        colour[corner & (up > 0.6) & (up < 0.9)] = (0.66, 0.10, 0.08)
        colour[up < 0.25] *= 0.35
        self.view.add(block.window, block.distance, block.softness, law, colour, depth)

    def _lump(self, depth: float, side: int):
        # Something dark at the kerb: a car in the shade or a bush, distinguished by its tone alone.
        view, metre = self.view, self.view.focal / depth
        tone, law = posterior(self.rng, {CAR: 0.6, VEGETATION: 0.4}, {CAR: -1.0, VEGETATION: 1.0}, 0.9)
        middle, bottom = view.column(side * (self.kerb[side] - 0.8), depth), view.row(0.0, depth)
        softness = view.outline(depth, 0.15)
        window = view.window(middle - metre, bottom - 1.5 * metre, middle + metre, bottom, softness)
        distance = view.ellipse(window, middle, bottom - 0.7 * metre, 0.95 * metre, 0.8 * metre)
        colour = np.array([0.16, 0.18, 0.17]) + (tone + 1) * np.array([0.01, 0.05, 0.0])
        view.add(window, distance, softness, law, colour, depth)
