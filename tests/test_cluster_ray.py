"""A Ray cluster of two nodes on this machine, one of which is removed while it measures."""

import argparse

import pytest

import results
from benchmarks.cluster import command, plan
from benchmarks.cluster.reporting import Report

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[cluster]'")
from ray.cluster_utils import Cluster  # noqa: E402

from benchmarks.cluster import on_ray  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def test_a_cluster_that_is_not_there_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="no Ray cluster answers there"):
        on_ray.connect("127.0.0.1:9")
    with pytest.raises(ValueError, match="write HOST:PORT"):
        on_ray.connect("ray://127.0.0.1:10001")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A head and another node, a core each."""
    (tmp_path / "token").write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.second = cluster.add_node(**NODE)
    on_ray.connect(cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Removing(Report):
    """Of the second node, once both have a cell and one was answered."""

    cluster, removed, notes = None, False, ()

    def note(self, sentence):
        self.notes += (sentence,)

    def answer(self, answer):
        super().answer(answer)
        if not self.removed and self.progress.timers == 2:
            self.removed = True
            self.cluster.remove_node(self.cluster.second, allow_graceful=False)


def test_a_node_removed_meanwhile_costs_no_cell(cluster, tmp_path):
    (tmp_path / "mine.txt").write_bytes(bytes(range(256)) * 40)
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    asked = ["--device", "cpu", "--arch", "rnn", "--phase", "quality", "--seq-len", "8"]
    asked += ["--batch", "2", "--lr", "0.01", "--corpus", str(tmp_path / "mine.txt")]
    asked += ["--tokens", "1024", "--seed", ",".join(map(str, range(8)))]
    options = parser.parse_args([*asked, "--label", "box", "--results", str(tmp_path / "results")])
    planned = plan.make(options)
    report = Removing(planned.todo, options.pack)
    report.cluster = cluster
    with command.claimed(planned, options) as job:
        on_ray.Dealer(job, planned.todo, report).run()
    assert report.statuses == {"ok": 8}, report.notes
    kept = results.load(["box"], options.results).records
    assert {record.case for record in kept} == set(planned.cases)
    said = " / ".join(report.notes)
    assert said.count("measures into box") == 2, said
    assert "was lost" in said and "dealt again" in said, said
    assert plan.make(options).todo == []
