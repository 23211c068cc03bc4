"""Laws over size: what training FLOPs buy at each size, and at which size they buy most.

Two readings of the same trainings, as Hoffmann et al., Training Compute-Optimal Large Language
Models, 2022  https://arxiv.org/abs/2203.15556, sections 3.2 and 3.3:

    IsoFLOP   at each budget C a parabola in log N through the losses; its vertex is the best size,
              if sizes on both sides of it were trained, and over budgets N* grows as C^a
    law       L(N, D) = E + A N^-α + B D^-β

N counts all parameters, D training tokens, L is held-out nats a token. For given α and β the law is
linear in E, A and B, none of which may be negative: variable projection, Golub & Pereyra, 1973
https://doi.org/10.1137/0710036. Beside it stands the paper's own fit, Huber's loss on the log. The
greatest budget takes no part in either fit and is what they predict.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from statistics import fmean

import numpy as np
import pandas as pd
import scipy
from scipy import special

from report.choice import best_learning_rates
from report.losses import evaluation, nats_per_token
from report.statistics import TAILS, Estimate, Floats, growth
from report.units import show, show_count
from results import Record

PHASE = "scaling"
FEWEST = 4  # sizes of a parabola, and budgets of which the last is predicted
DRAWS = 100
HUBER = 1e-3  # in log, Hoffmann et al.'s
STARTS = list(product((0.3, 0.7), (0.3, 0.7)))  # of α and β
GREATEST = 3.0  # that α and β may be
TIMES = 4  # of size, at the large end: does it still help where text is read many times?


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one size came to on one budget, the mean of its seeds."""

    arch: str
    flops: int
    params: int
    tokens: int
    nats: float
    records: list[Record] = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Where a budget is best spent: the vertex of its parabola."""

    flops: int
    params: float
    nats: float


@dataclass(frozen=True, kw_only=True)
class Law:
    """L(N, D) = E + A N^-α + B D^-β."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def nats(self, params: Floats, tokens: Floats) -> Floats:
        return self.E + self.A * params**-self.alpha + self.B * tokens**-self.beta

    def of_size(self, params: Floats) -> float:
        """Nats that the range of sizes takes away."""
        return float(self.A * (params.min() ** -self.alpha - params.max() ** -self.alpha))

    def of_text(self, tokens: Floats) -> float:
        """Nats that the range of budgets of text takes away."""
        return float(self.B * (tokens.min() ** -self.beta - tokens.max() ** -self.beta))

    @property
    def exponent(self) -> float:
        """Of the best size over the budget, if a token takes FLOPs in proportion to size."""
        return self.beta / (self.alpha + self.beta)


def points(records: Iterable[Record]) -> list[Point]:
    """Of each architecture, budget and size, at the learning rate that validation chose."""
    ran = [record for record in records if record.case.phase == PHASE and record.case.flops]
    alike: dict[tuple[str, int, int], list[tuple[float, Record]]] = defaultdict(list)
    for record in (pick.record for pick in best_learning_rates(ran)):
        test = evaluation(record, "test", record.case.seq_len)
        nats = nats_per_token(test) if test else None
        if record.status == "ok" and nats is not None and record.params and record.case.flops:
            key = (record.case.arch, record.case.flops, record.params)
            alike[key].append((nats, record))
    return [
        Point(
            arch=arch,
            flops=flops,
            params=params,
            tokens=seen[0][1].case.tokens or 0,
            nats=fmean(nats for nats, _ in seen),
            records=[record for _, record in seen],
        )
        for (arch, flops, params), seen in sorted(alike.items(), key=lambda item: item[0])
    ]


def by_budget(some: Iterable[Point]) -> dict[int, list[Point]]:
    """Smallest budget and smallest size first."""
    found: dict[int, list[Point]] = defaultdict(list)
    for point in sorted(some, key=lambda point: (point.flops, point.params)):
        found[point.flops].append(point)
    return dict(found)


def parabola(some: Sequence[Point]) -> Floats | None:
    """Coefficients in log N, highest power first; None for fewer than FEWEST sizes."""
    if len(some) < FEWEST:
        return None
    logs = np.log([point.params for point in some])
    return np.asarray(np.polyfit(logs, [point.nats for point in some], 2))


def optimum(some: Sequence[Point]) -> Optimum | None:
    """None where the least loss is not between sizes that do worse: then it lies elsewhere."""
    found = parabola(some)
    if found is None or found[0] <= 0:
        return None
    vertex = -found[1] / (2 * found[0])
    sizes = [point.params for point in some]
    if not math.log(min(sizes)) < vertex < math.log(max(sizes)):
        return None
    return Optimum(
        flops=some[0].flops, params=math.exp(vertex), nats=float(np.polyval(found, vertex))
    )


def optima(some: Iterable[Point]) -> list[Optimum]:
    return [best for alike in by_budget(some).values() if (best := optimum(alike)) is not None]


def exponent(some: Iterable[Point]) -> Estimate | None:
    """The power of the budget that the best size grows with; None for fewer than three optima."""
    best = optima(some)
    return growth([float(one.flops) for one in best], [one.params for one in best])


def _columns(some: Sequence[Point]) -> tuple[Floats, Floats, Floats]:
    return (
        np.array([point.params for point in some], dtype=float),
        np.array([point.tokens for point in some], dtype=float),
        np.array([point.nats for point in some]),
    )


def _linear(powers: Floats, N: Floats, D: Floats, L: Floats) -> tuple[Floats, float]:
    """The best E, A and B, none negative, for α and β, and what relative error they leave."""
    alpha, beta = powers
    # in units of the smallest, so that the three columns are of a size
    n, d = (N / N.min()) ** -alpha, (D / D.min()) ** -beta
    basis = np.column_stack([np.ones_like(L), n, d]) / L[:, None]
    found = np.linalg.lstsq(basis, np.ones_like(L))[0]
    if found.min() < 0:  # only then the slower way
        found = scipy.optimize.nnls(basis, np.ones_like(L))[0]
    error = float(np.linalg.norm(basis @ found - 1))
    return found * np.array([1, N.min() ** alpha, D.min() ** beta]), error


def fit(some: Sequence[Point], starts: Sequence[tuple[float, float]] = STARTS) -> Law:
    """By variable projection: only α and β are searched for."""
    N, D, L = _columns(some)

    def left(powers: Floats) -> float:
        return _linear(powers, N, D, L)[1]

    bounds = [(0.0, GREATEST)] * 2
    found = min(
        (
            scipy.optimize.minimize(left, start, method="Nelder-Mead", bounds=bounds)
            for start in starts
        ),
        key=lambda result: result.fun,
    )
    (E, A, B), _ = _linear(found.x, N, D, L)
    return Law(E=float(E), A=float(A), alpha=float(found.x[0]), B=float(B), beta=float(found.x[1]))


def fit_huber(some: Sequence[Point]) -> Law:
    """As Hoffmann et al., section D.2: the log of the law by log-sum-exp, all five at once."""
    N, D, L = _columns(some)

    log_N, log_D, log_L, ones = np.log(N), np.log(D), np.log(L), np.ones_like(L)

    def lost(x: Floats) -> tuple[float, Floats]:
        """And its slopes."""
        a, b, e, alpha, beta = x
        parts = np.stack([a - alpha * log_N, b - beta * log_D, e * ones])
        off = special.logsumexp(parts, axis=0) - log_L
        # Huber's loss is a parabola within HUBER and a line beyond
        slope_A, slope_B, slope_E = np.clip(off, -HUBER, HUBER) * special.softmax(parts, axis=0)
        slopes = [slope_A, slope_B, slope_E, -slope_A * log_N, -slope_B * log_D]
        return float(special.huber(HUBER, off).sum()), np.array([s.sum() for s in slopes])

    starts = [(a, b, -0.5, *powers) for a in (0, 5) for b in (0, 5) for powers in STARTS]
    found = min(
        (scipy.optimize.minimize(lost, start, jac=True, method="L-BFGS-B") for start in starts),
        key=lambda result: result.fun,
    )
    a, b, e, alpha, beta = map(float, found.x)
    return Law(E=math.exp(e), A=math.exp(a), alpha=alpha, B=math.exp(b), beta=beta)


def redrawn(some: Sequence[Point], law: Law) -> list[Law]:
    """Fits to DRAWS resamples of the points, each begun at the law."""
    random = np.random.default_rng(0)
    drawn = list[Law]()
    while len(drawn) < DRAWS:
        picked = [some[i] for i in random.integers(len(some), size=len(some))]
        if len({p.params for p in picked}) > 2 and len({p.tokens for p in picked}) > 2:
            drawn.append(fit(picked, [(law.alpha, law.beta)]))
    return drawn


def between(value: float, draws: Sequence[float]) -> Estimate:
    low, high = np.quantile(draws, TAILS)
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One architecture's law, fitted to all budgets but the greatest, which it predicts."""

    arch: str
    points: list[Point]
    law: Law
    huber: Law
    alpha: Estimate
    beta: Estimate
    E: Estimate
    of_size: Estimate
    of_text: Estimate
    exponent: Estimate | None  # of the optima of all budgets
    error: float  # mean of |predicted / found - 1| at the greatest budget

    @property
    def records(self) -> list[Record]:
        return [record for point in self.points for record in point.records]


def readings(records: Iterable[Record]) -> list[Reading]:
    """Of every architecture with FEWEST budgets."""
    of_arch: dict[str, list[Point]] = defaultdict(list)
    for point in points(records):
        of_arch[point.arch].append(point)
    enough = {arch: some for arch, some in of_arch.items() if len(by_budget(some)) >= FEWEST}
    return [_reading(arch, tuple(some)) for arch, some in enough.items()]


@cache  # asked by claims and tables; points are told apart by their numbers
def _reading(arch: str, some: tuple[Point, ...]) -> Reading:
    greatest = max(point.flops for point in some)
    fitted = [point for point in some if point.flops < greatest]
    held = [point for point in some if point.flops == greatest]
    law = fit(fitted)
    drawn = redrawn(fitted, law)
    (sizes, texts, _), (N, D, L) = _columns(fitted), _columns(held)
    return Reading(
        arch=arch,
        points=list(some),
        law=law,
        huber=fit_huber(fitted),
        alpha=between(law.alpha, [one.alpha for one in drawn]),
        beta=between(law.beta, [one.beta for one in drawn]),
        E=between(law.E, [one.E for one in drawn]),
        of_size=between(law.of_size(sizes), [one.of_size(sizes) for one in drawn]),
        of_text=between(law.of_text(texts), [one.of_text(texts) for one in drawn]),
        exponent=exponent(some),
        error=float(np.mean(np.abs(law.nats(N, D) / L - 1))),
    )


def repeated(records: Iterable[Record]) -> dict[str, dict[int, dict[int, Record]]]:
    """Trainings on little text read many times: by architecture, parameters and seed."""
    ran = [record for record in records if record.case.phase == PHASE and record.case.unique_bytes]
    found: dict[str, dict[int, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in (pick.record for pick in best_learning_rates(ran)):
        if record.status == "ok" and record.params and stopped_early(record) is not None:
            found[record.case.arch][record.params][record.case.seed] = record
    return {arch: dict(sorted(sizes.items())) for arch, sizes in sorted(found.items())}


def stopped_early(record: Record) -> float | None:
    """The least validation loss on the way, in nats a token: what a stop in time would keep."""
    seen = [p.nats / p.answers for p in record.progress if p.nats is not None and p.answers]
    return min(seen, default=None)


def gain(sizes: dict[int, dict[int, Record]]) -> dict[int, float] | None:
    """By seed: the share of loss that the last TIMES of size take away, early stops on both sides.

    None where sizes do not span that much.
    """
    largest = max(sizes)
    smaller = [params for params in sizes if params * TIMES <= largest]
    if not smaller:
        return None
    gained = {}
    for seed, record in sizes[largest].items():
        before = [stopped_early(sizes[p][seed]) for p in smaller if seed in sizes[p]]
        known, after = [nats for nats in before if nats is not None], stopped_early(record)
        if known and after is not None:
            gained[seed] = 1 - after / min(known)
    return gained


def laws_table(found: Sequence[Reading]) -> pd.DataFrame:
    def told(estimate: Estimate | None, digits: int = 2) -> str:
        if estimate is None:
            return "not bracketed"
        low, high = f"{estimate.low:.{digits}f}", f"{estimate.high:.{digits}f}"
        return f"{estimate.value:.{digits}f} ({low}–{high})"

    return pd.DataFrame(
        [
            {
                "architecture": one.arch,
                "best size grows as budget to the": told(one.exponent),
                "by the law": f"{one.law.exponent:.2f}",
                "α, size": told(one.alpha),
                "β, text": told(one.beta),
                "E, nats": told(one.E),
                "α, β, E by Huber": f"{one.huber.alpha:.2f}, {one.huber.beta:.2f}, "
                f"{one.huber.E:.2f}",
                "greatest budget predicted within": show(one.error, "fraction"),
                "trainings": f"{len(one.records)}",
            }
            for one in found
        ]
    )


def optima_table(found: Sequence[Reading]) -> pd.DataFrame:
    """Where each budget is best spent."""
    rows = []
    for one in found:
        for flops, some in by_budget(one.points).items():
            best = optimum(some)
            seen = min(some, key=lambda point: point.nats)
            rows.append(
                {
                    "architecture": one.arch,
                    "training FLOPs": f"{flops:.2g}",
                    "best trained": f"{show_count(seen.params)} parameters, "
                    f"{show_count(seen.tokens)} tokens",
                    "nats/token": f"{seen.nats:.3f}",
                    "parabola's vertex": "not bracketed"
                    if best is None
                    else f"{show_count(round(best.params))} parameters",
                    "sizes": f"{len(some)}",
                }
            )
    return pd.DataFrame(rows)


def repeated_table(records: Iterable[Record]) -> pd.DataFrame:
    """What size does where the text is little and read many times."""
    rows = []
    for arch, sizes in repeated(records).items():
        for params, seeds in sizes.items():
            early = [nats for r in seeds.values() if (nats := stopped_early(r)) is not None]
            last = [p.nats / p.answers for r in seeds.values() if (p := r.progress[-1]).nats]
            case = next(iter(seeds.values())).case
            rows.append(
                {
                    "architecture": arch,
                    "parameters": show_count(params),
                    "text": show(case.unique_bytes or 0, "bytes"),
                    "read": f"{(case.tokens or 0) / (case.unique_bytes or 1):.0f} times",
                    "nats/token, stopped early": f"{fmean(early):.3f}",
                    "at the end": f"{fmean(last):.3f}",
                    "seeds": f"{len(seeds)}",
                }
            )
    return pd.DataFrame(rows)


# training FLOPs as their papers tell them; Llama 2's is 6 N D. OpenAI never told GPT-2's tokens.
FAMOUS = (
    ("GPT-1", 117e6, None, 8.3e19, "0.96 petaflop/s-days, OpenAI 2018"),
    ("GPT-2", 1.5e9, None, None, "not published"),
    ("GPT-3", 175e9, 300e9, 3.14e23, "table D.1, arXiv 2005.14165"),
    ("Llama 2 70B", 70e9, 2e12, 8.4e23, "6 N D, arXiv 2307.09288"),
)
YEAR_S = 365.25 * 86_400


def famous_table(flops_per_s: float | None) -> pd.DataFrame:
    """What models of the story took, as a cost; nothing here foretells their quality."""
    rows = []
    for name, params, tokens, flops, source in FAMOUS:
        years = None if flops is None or not flops_per_s else flops / flops_per_s / YEAR_S
        rows.append(
            {
                "model": name,
                "parameters": show_count(round(params)),
                "training tokens": "–" if tokens is None else show_count(round(tokens)),
                "training FLOPs": "–" if flops is None else f"{flops:.3g}",
                "on this machine, at its measured matrix product": "–"
                if years is None
                else f"{years:,.0f} years",
                "source": source,
            }
        )
    return pd.DataFrame(rows)
