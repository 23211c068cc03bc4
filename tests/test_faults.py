"""Some of the faults, a few times; `python -m tests.faults` puts in all of them."""

from functools import partial

import pytest

from tests.faults import Bench, Watch, architectures, disk_full, sigkill
from tests.sweeps import LABEL, NotHere, Ran, files

SOME = {
    "sigkill": partial(sigkill, kills=2),
    "disk-full": disk_full,
    "architectures": partial(architectures, names=("segfaults", "raises")),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", SOME)
def test_promises_are_kept(bench, name):
    try:
        rows = list(SOME[name](bench))
    except NotHere as error:
        pytest.skip(str(error))
    assert rows and not [outcome.row() for outcome in rows if outcome.broken]


def test_broken_promises_are_seen(tmp_path):
    folder, watch = tmp_path / LABEL, Watch(tmp_path)
    folder.mkdir()
    for name in ("changed.json", "gone.json"):
        (folder / name).write_text("{}")
    before = files(tmp_path)
    (folder / "changed.json").write_text("{")
    (folder / "gone.json").unlink()
    (folder / ".half.tmp").touch()
    watch.intact(before)
    watch.resumed(Ran(3, "Traceback", ("7 python",)), {"missing.json"})
    for said in (
        "changed.json is changed",
        "gone.json is gone",
        "1 files are no Record",
        "exit code 3, not 0",
        "a traceback",
        "left running: 7 python",
        "missing or too many: changed.json, missing.json",
        "left behind: .half.tmp",
    ):
        assert any(said in broken for broken in watch.broken), said
