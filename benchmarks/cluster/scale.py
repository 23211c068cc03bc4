"""`python -m benchmarks.cluster.scale OPTIONS`: what a second worker brings, what dealing takes.

A Ray cluster of two nodes on this machine, a core each, measures the cells that OPTIONS, those of
`submit`, ask for: with one worker, then with two, each time into a new folder. Overhead is a
worker's time beside what the cells themselves took: dealing, asking, saving, waiting at the end.
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
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE_BYTES}


class Watch(Report):
    """From when all workers were there until the last answer."""

    def __init__(self, cases: Sequence[Case], workers: int) -> None:
        super().__init__(cases, pack=1)
        self.workers, self.first_s, self.last_s = workers, 0.0, 0.0

    def seats(self, count: int) -> None:
        super().seats(count)
        if count == self.workers:
            self.first_s = time.perf_counter()

    def answer(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.statuses[answer.status] += 1
        self.last_s = time.perf_counter()

    def figures(self) -> tuple[float, float]:
        """Seconds in all, and of a worker's beside each cell."""
        wall_s = self.last_s - self.first_s
        cells_s = sum(answer.cell_s or 0.0 for answer in self.answers)
        return wall_s, (wall_s * self.workers - cells_s) / len(self.answers)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster.scale")
    command.add_options(parser)
    options = parser.parse_args(arguments)
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    seen = {}
    try:
        on_ray.connect(cluster.address)
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                options.results = Path(folder)
                asked = plan.make(options)
                watch = Watch(asked.todo, workers)
                with command.claimed(asked, options) as job:
                    on_ray.Dealer(job, asked.todo, watch, workers).run()
            seen[workers], overhead_s = watch.figures()
            print(
                f"{workers} of 2 workers: {watch.summary()}; {seen[workers]:.2f} s from when all "
                f"were there, {1000 * overhead_s:.1f} ms a cell beside the cells' own",
                flush=True,
            )
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(f"two workers are {seen[1] / seen[2]:.2f} x as fast as one")


if __name__ == "__main__":
    main(sys.argv[1:])
