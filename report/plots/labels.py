"""Names beside points, where they hide neither a point, a line nor each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
ANGLES = np.linspace(0, 2 * math.pi, 16, endpoint=False)
GAPS = (7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 64.0)  # typographic points from marker to label
LEADER_FROM = 14.0  # beyond this gap a thin line says whose label it is


@dataclass(frozen=True, kw_only=True)
class Label:
    text: str
    at: tuple[float, float]  # in data coordinates
    colour: str
    size: float
    weight: str = "normal"


def _hidden(box: Bbox, dots: Pixels) -> int:
    """How many obstacle dots a label in `box` would cover."""
    inside = (box.x0 <= dots[:, 0]) & (dots[:, 0] <= box.x1)
    return int((inside & (box.y0 <= dots[:, 1]) & (dots[:, 1] <= box.y1)).sum())


def _overlap(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Bbox, frame: Bbox) -> float:
    over = (frame.x0 - box.x0, box.x1 - frame.x1, frame.y0 - box.y0, box.y1 - frame.y1)
    return sum(max(0.0, side) for side in over)


def along(corners: Pixels, every: float = 4.0) -> Pixels:
    """Dots along a line through `corners`, dense enough that no label slips between them."""
    if len(corners) < 2:
        return corners
    legs = []
    for start, end in pairwise(corners):
        count = max(2, int(np.hypot(*(end - start)) / every))
        legs.append(np.linspace(start, end, count))
    return np.concatenate(legs)


def _box(at: Pixels, angle: float, gap: float, width: float, height: float) -> Bbox:
    """Where a label of that extent lies, `gap` away from its point in direction `angle`."""
    dx, dy = math.cos(angle), math.sin(angle)
    x, y = at[0] + dx * (gap + width / 2), at[1] + dy * (gap + height / 2)
    return Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def place(axes: Axes, labels: Sequence[Label], dots: Pixels, taken: list[Bbox]) -> None:
    """Write each label at the cheapest free place, first come first served.

    `dots` are pixels that no label should cover, `taken` the boxes of text already there.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = RendererAgg(figure.bbox.width, figure.bbox.height, figure.dpi)
    pixels = figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    for label in labels:
        at = axes.transData.transform(label.at)
        text = axes.annotate(
            label.text,
            label.at,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            color=label.colour,
            fontsize=label.size,
            fontweight=label.weight,
            zorder=6,
        )
        extent = text.get_window_extent(renderer)
        costs = []
        for gap in GAPS:
            for angle in ANGLES:
                box = _box(at, angle, gap * pixels, extent.width + 4, extent.height + 2)
                crowd = sum(_overlap(box, other) for other in taken)
                blocked = 30 * _hidden(box, dots) + 2 * crowd + 20 * _outside(box, frame)
                costs.append((blocked + gap * pixels, gap, box))
        _, gap, box = min(costs, key=lambda option: option[0])
        taken.append(box)
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        text.set_position(tuple((middle - at) / pixels))
        if gap > LEADER_FROM:
            near = np.clip(at, [box.x0, box.y0], [box.x1, box.y1])
            ends = axes.transData.inverted().transform([at, near])
            axes.plot(*ends.T, color=label.colour, linewidth=0.6, alpha=0.6, zorder=2)
