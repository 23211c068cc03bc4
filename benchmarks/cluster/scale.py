"""`python -m benchmarks.cluster.scale OPTIONS`: what a second worker brings, what dealing takes.

A Ray cluster of two nodes on this machine, a core each, measures the cells that OPTIONS, those of
`submit`, ask for: with one worker, two, two and one, each time into a new folder. What a worker
spends beside a cell is dealing, asking, saving, and waiting at the end.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from benchmarks.cluster import command, on_ray, plan
from benchmarks.cluster.job import Answer
from benchmarks.cluster.reporting import Report
from results import Case

STORE_BYTES = 80 * 2**20  # about the least that Ray takes
ORDER = (1, 2, 2, 1)  # so that a machine that changes meanwhile favours neither
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE_BYTES}


class Watch(Report):
    """Answers from when all workers were there."""

    def __init__(self, cases: Sequence[Case], workers: int) -> None:
        super().__init__(cases, pack=1)
        self.workers, self.first_s, self.last_s = workers, 0.0, 0.0
        self.since = 0  # answers before

    def seats(self, count: int) -> None:
        super().seats(count)
        if count == self.workers:
            self.first_s, self.since = time.perf_counter(), len(self.answers)

    def answer(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.statuses[answer.status] += 1
        self.last_s = time.perf_counter()

    def figures(self) -> tuple[float, float]:
        """Seconds a cell: of the wall, and of a worker beside what the cell took."""
        wall_s, answers = self.last_s - self.first_s, self.answers[self.since :]
        cells_s = sum(answer.cell_s or 0.0 for answer in answers)
        count = len(answers)
        return wall_s / count, (wall_s * self.workers - cells_s) / count


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.scale")
    command.add_options(parser)
    options = parser.parse_args(arguments)
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    spent_s: dict[int, list[float]] = {1: [], 2: []}  # of the wall, a cell
    try:
        on_ray.connect(cluster.address)
        for workers in ORDER:
            with tempfile.TemporaryDirectory() as folder:
                options.results = Path(folder)
                asked = plan.make(options)
                watch = Watch(asked.todo, workers)
                with command.claimed(asked, options) as job:
                    on_ray.Dealer(job, asked.todo, watch, workers).run()
            cell_s, beside_s = watch.figures()
            spent_s[workers].append(cell_s)
            print(
                f"workers {workers}: {watch.summary()}; from when all were there "
                f"{1 / cell_s:.2f} cells/s, {1000 * beside_s:.1f} ms of a worker beside each cell",
                flush=True,
            )
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(f"two workers are {sum(spent_s[1]) / sum(spent_s[2]):.2f} x as fast as one")


if __name__ == "__main__":
    main(sys.argv[1:])
