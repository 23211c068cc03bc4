"""A finished figure and the numbers in it, saved side by side under one stem."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from report import files, inert
from report.plots.style import paper


@dataclass(frozen=True, kw_only=True)
class Drawing:
    stem: str
    title: str
    caption: str  # how to read it
    alt: str  # what it shows, for who cannot see it
    figure: Figure | None  # None: saved
    data: pd.DataFrame

    @paper
    def save(self, folder: Path) -> list[Path]:
        """The SVG, the PNG and a CSV of exactly the numbers drawn, written unless they have been.

        Raises OSError if they cannot be.
        """
        drawn, numbers = (
            [folder / f"{self.stem}.{kind}" for kind in ("svg", "png")],
            folder / f"{self.stem}.csv",
        )
        if self.figure is not None:
            for path in drawn:
                save(self.figure, path)
            files.write(numbers, inert.csv_of(self.data))
        return [*drawn, numbers]

    def drawn(self, folder: Path) -> "Drawing":
        """Saved, and without the figure."""
        self.save(folder)
        return replace(self, figure=None)


def save(figure: Figure, path: Path, dpi: int = 160) -> Path:
    """Writes the kind of file that the name says, without a date: the same numbers give the same
    bytes."""
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with files.replacing(path) as unfinished:
        kind, metadata = path.suffix.removeprefix("."), undated.get(path.suffix)
        figure.savefig(unfinished, format=kind, dpi=dpi, metadata=metadata)
    return path
