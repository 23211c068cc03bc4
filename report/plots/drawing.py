"""A finished figure and the numbers in it, saved side by side under one stem."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from report.plots.style import paper


@dataclass(frozen=True, kw_only=True)
class Drawing:
    stem: str
    title: str
    caption: str  # how to read it
    alt: str  # what it shows, for who cannot see it
    figure: Figure
    data: pd.DataFrame

    @paper
    def save(self, folder: Path) -> list[Path]:
        """Writes the SVG, the PNG and a CSV of exactly the numbers drawn."""
        paths = [folder / f"{self.stem}.{kind}" for kind in ("svg", "png", "csv")]
        # no date, so that the same numbers give the same file
        self.figure.savefig(paths[0], metadata={"Date": None})
        self.figure.savefig(paths[1], dpi=160)
        self.data.to_csv(paths[2], index=False)
        return paths
