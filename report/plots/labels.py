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
PLACES = np.array([(gap, math.cos(angle), math.sin(angle)) for gap in GAPS for angle in ANGLES])
LEADER_FROM = 14.0  # beyond this gap a thin line says whose label it is


@dataclass(frozen=True, kw_only=True)
class Label:
    text: str
    at: tuple[float, float]  # in data coordinates
    colour: str
    size: float
    weight: str = "normal"


# boxes: (n, 4) of left, bottom, right, top in pixels
def _hidden(boxes: Pixels, dots: Pixels) -> Pixels:
    """How many obstacle dots a label in each box would cover."""
    (x0, y0, x1, y1), (x, y) = boxes.T[:, :, None], dots.T
    return np.asarray(((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)).sum(axis=1), float)


def _overlap(boxes: Pixels, others: Pixels) -> Pixels:
    """How much of all others each box covers."""
    (x0, y0, x1, y1), (left, bottom, right, top) = boxes.T[:, :, None], others.T
    width = np.minimum(x1, right) - np.maximum(x0, left)
    height = np.minimum(y1, top) - np.maximum(y0, bottom)
    return np.asarray(np.where((width > 0) & (height > 0), width * height, 0).sum(axis=1))


def _outside(boxes: Pixels, frame: Bbox) -> Pixels:
    """How far each box reaches out of the frame."""
    over = np.column_stack([frame.min - boxes[:, :2], boxes[:, 2:] - frame.max])
    return np.asarray(np.maximum(over, 0).sum(axis=1))


def along(corners: Pixels, every: float = 4.0) -> Pixels:
    """Dots along a line through `corners`, dense enough that no label slips between them."""
    if len(corners) < 2:
        return corners
    legs = []
    for start, end in pairwise(corners):
        count = max(2, int(np.hypot(*(end - start)) / every))
        legs.append(np.linspace(start, end, count))
    return np.concatenate(legs)


def _boxes(at: Pixels, width: float, height: float, pixels: float) -> Pixels:
    """Where a label of that extent may lie, at each of PLACES about its point."""
    half = np.array([width, height]) / 2
    middles = at + PLACES[:, 1:] * (PLACES[:, :1] * pixels + half)
    return np.hstack([middles - half, middles + half])


def place(axes: Axes, labels: Sequence[Label], dots: Pixels, taken: Sequence[Bbox]) -> None:
    """Write each label at the cheapest free place, first come first served.

    `dots` are pixels that no label should cover, `taken` the boxes of text already there.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = RendererAgg(figure.bbox.width, figure.bbox.height, figure.dpi)
    pixels = figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    occupied = np.array([box.extents for box in taken]).reshape(-1, 4)
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
        boxes = _boxes(at, extent.width + 4, extent.height + 2, pixels)
        blocked = 30 * _hidden(boxes, dots) + 2 * _overlap(boxes, occupied)
        cost = blocked + 20 * _outside(boxes, frame) + PLACES[:, 0] * pixels
        best = int(np.argmin(cost))
        box = boxes[best]
        occupied = np.vstack([occupied, box])
        text.set_position(tuple(((box[:2] + box[2:]) / 2 - at) / pixels))
        if PLACES[best, 0] > LEADER_FROM:
            near = np.clip(at, box[:2], box[2:])
            ends = axes.transData.inverted().transform([at, near])
            axes.plot(*ends.T, color=label.colour, linewidth=0.6, alpha=0.6, zorder=2)
