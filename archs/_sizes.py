"""One size name, one parameter count: widths solved so that every architecture costs the same.

The yardstick is GPT-2's block, 12 d² + 13 d non-embedding parameters a layer, so `124m` is GPT-2's
own shape. An architecture says which widths it could have; the solver picks the one that fits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch

from archs._spine import Block, Config, LanguageModel


@dataclass(frozen=True)
class Size:
    d_model: int
    n_layer: int
    n_head: int
    vocab_size: int

    @property
    def budget(self) -> int:
        """Non-embedding parameters of GPT-2 at this width and depth, its final norm included."""
        return self.n_layer * (12 * self.d_model**2 + 13 * self.d_model) + 2 * self.d_model

    @property
    def tolerance(self) -> float:
        """Good enough to stop the search: two architectures then differ by at most 2 %."""
        return 0.01


# named by total parameters, rounded; bytes below 100M, GPT-2's vocabulary (padded) above
NAMED = {
    "100k": Size(64, 2, 4, 256),
    "800k": Size(128, 4, 4, 256),
    "3m": Size(256, 4, 4, 256),
    "11m": Size(384, 6, 6, 256),
    "25m": Size(512, 8, 8, 256),
    "124m": Size(768, 12, 12, 50_304),
    "355m": Size(1024, 24, 16, 50_304),
    "1.3b": Size(2048, 24, 16, 50_304),
}


# two layers each, for laws over size: named by d_model, as so few parameters match less closely
GRID = {f"d{d}": Size(d, 2, max(2, d // 16), 256) for d in (8, 12, 16, 20, 24, 32, 48, 64, 96, 128)}


def non_embedding_params(config: Config, block: type[Block]) -> int:
    with torch.device("meta"):  # shapes without memory: a 1.3b model is counted in milliseconds
        model = LanguageModel(config, block)
    return sum(p.numel() for p in model.parameters()) - model.embedding_params()


class Matched(Mapping[str, Any]):
    """Size name → Config, solved when first asked for; and `presets`, published shapes as they are.

    `shapes(size)` yields, best liked first, functions from a width to a Config; `width_steps` are
    the multiples a width may come in, roundest first. The first that meets the tolerance is
    taken, else the closest of all. Iterated are the NAMED; those of the GRID are there too.
    """

    def __init__(
        self,
        block: type[Block],
        shapes: Callable[[Size], Iterable[Callable[[int], Config]]],
        width_steps: Callable[[Size], Iterable[int]] = lambda size: (64, 32, 16, 8, 4, 2),
        presets: Mapping[str, Config] = MappingProxyType({}),
    ) -> None:
        self.block, self.shapes, self.width_steps = block, shapes, width_steps
        self.presets = presets
        self.solve = cache(self._solve)

    def __getitem__(self, name: str) -> Config:
        if name in self.presets:
            return self.presets[name]
        return self.solve((NAMED | GRID)[name])

    def __contains__(self, name: object) -> bool:
        return name in self.presets or name in NAMED or name in GRID

    def d_model(self, name: str) -> int:
        """Like the names, told without solving, which takes a second or two the first time."""
        return self.presets[name].d_model if name in self.presets else (NAMED | GRID)[name].d_model

    def __iter__(self) -> Iterator[str]:
        return iter([*NAMED, *self.presets])

    def __len__(self) -> int:
        return len(NAMED) + len(self.presets)

    def _solve(self, size: Size) -> Config:
        best: tuple[float, Config] | None = None
        for config_of in self.shapes(size):
            for step in self.width_steps(size):
                for config in self._neighbours(config_of, step, size.budget):
                    error = abs(non_embedding_params(config, self.block) / size.budget - 1)
                    if best is None or error < best[0]:
                        best = (error, config)
                if best and best[0] <= size.tolerance:
                    return best[1]
        if best is None:
            raise ValueError(f"no width fits {size}")
        return best[1]

    def _neighbours(
        self, config_of: Callable[[int], Config], step: int, budget: int
    ) -> list[Config]:
        """The two Configs, one multiple of `step` apart, on either side of the budget."""
        low, high = 1, 1
        while non_embedding_params(config_of(high * step), self.block) < budget:
            low, high = high, 2 * high
            if high > budget:
                raise ValueError(f"no width has {budget:,} parameters: they do not grow with it")
        while high - low > 1:
            middle = (low + high) // 2
            if non_embedding_params(config_of(middle * step), self.block) < budget:
                low = middle
            else:
                high = middle
        return [config_of(low * step), config_of(high * step)]
