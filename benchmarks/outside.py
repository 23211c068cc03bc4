"""Architectures from outside archs/: a file, another package's by its entry point, a checkpoint.

A Case calls one `stem.1a2b3c4d`, by the first digits of its source's SHA-256, so that other code
never meets its Records. Where each lies is kept in the environment, which child processes inherit:
this module reads it there when it is imported, and a source that has changed since is refused.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch

import archs
from archs import _spine
from benchmarks import pretrained
from results.loading import contents

GROUP = "seqfrontier.archs"
VARIABLE = "SEQFRONTIER_ARCHS"
TORCH = str(Path(torch.__file__).parent)
# what code that is wrong raises; the rest, such as an interrupt or no memory, is not its doing
WRONG = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Source:
    kind: Literal["file", "entry point", "checkpoint"]
    where: str  # the file's path, the entry point's name, or the folder


_sources: dict[str, Source] = {}  # by name in Cases, like the modules loaded already
_modules: dict[str, ModuleType] = {}


def installed() -> dict[str, metadata.EntryPoint]:
    """What other packages offer, by name: told by their metadata, none of them is imported.

    Raises ValueError if two offer the same name.
    """
    offered: dict[str, metadata.EntryPoint] = {}
    for point in sorted(metadata.entry_points(group=GROUP)):
        other = offered.setdefault(point.name, point)
        if other.value != point.value:
            raise ValueError(
                f"two packages offer an architecture {point.name!r}, {other.value} and "
                f"{point.value}; uninstall one"
            )
    return offered


def named(word: str) -> str:
    """The name in Cases of what a user calls `word`; from now on archs.load knows it too.

    A word that names nothing comes back as it is. Raises ValueError if what it names cannot be
    loaded or is no architecture.
    """
    if word in archs.names():
        return word
    if word.startswith(pretrained.PREFIX):
        folder = pretrained.folder_of(word.removeprefix(pretrained.PREFIX))
        source = Source("checkpoint", str(folder))
    elif word.endswith(".py") or os.sep in word:
        source = Source("file", os.path.abspath(word))
    elif word in installed():
        source = Source("entry point", word)
    else:
        return word
    name, _ = found = _found(source)
    _modules.update([found])
    _remember(name, source)
    return name


def option(text: str) -> list[str]:
    """The names of a comma-separated list, for argparse and pytest; `all` is every one of ours that
    has all phases: encoders are asked for by name."""
    if text == "all":
        return [name for name in archs.names() if archs.is_causal(name)]
    try:
        return [named(word) for word in text.split(",") if word]
    except ValueError as error:  # of which they would show the list only
        raise argparse.ArgumentTypeError(str(error)) from None


def is_code(arch: str) -> bool:
    """Whether it is somebody else's file, which no test here holds to the laws."""
    return arch in _sources and _sources[arch].kind != "checkpoint"


def is_checkpoint(arch: str) -> bool:
    """Whether its weights exist, so that it is asked as it is."""
    return arch in _sources and _sources[arch].kind == "checkpoint"


def versions(arch: str) -> dict[str, str]:
    """Of the package whose code runs, if one's does."""
    if arch not in _sources or _sources[arch].kind == "file":
        return {}
    if _sources[arch].kind == "checkpoint":
        return {pretrained.PACKAGE: metadata.version(pretrained.PACKAGE)}
    return dict([_package(installed()[_sources[arch].where])])


def _remember(name: str, source: Source) -> None:
    _sources[name] = source
    archs.add(name, partial(_load, name))
    os.environ[VARIABLE] = json.dumps({name: asdict(each) for name, each in _sources.items()})


def _load(name: str) -> ModuleType:
    if name not in _modules:
        found, module = _found(_sources[name])
        if found != name:
            raise ValueError(f"{_sources[name].where} has changed since this began: it is {found}")
        _modules[name] = module
    return _modules[name]


def _found(source: Source) -> tuple[str, ModuleType]:
    kinds = {"file": _from_file, "entry point": _from_package, "checkpoint": _from_checkpoint}
    return kinds[source.kind](source.where)


def _from_file(where: str) -> tuple[str, ModuleType]:
    path = Path(where)
    try:
        content = contents(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"cannot read the architecture {path}: {why}") from None
    name = _name(path.stem, content)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file; an architecture's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their own module up
    _whole(where, partial(spec.loader.exec_module, module))
    return name, _architecture(where, module)


def _from_package(where: str) -> tuple[str, ModuleType]:
    point = installed()[where]
    module = _whole(point.value, point.load)
    if not isinstance(module, ModuleType) or module.__file__ is None:
        raise ValueError(f"{point.value}, the architecture {where!r}, is not a module's file")
    _, version = _package(point)
    name = _name(where, Path(module.__file__).read_bytes() + version.encode())
    return name, _architecture(point.value, module)


def _from_checkpoint(where: str) -> tuple[str, ModuleType]:
    folder = Path(where)
    name = f"hf.{pretrained.stem_of(folder)[:60]}.{pretrained.digest_of(folder)[:8]}"
    return name, pretrained.module_of(folder)


def _package(point: metadata.EntryPoint) -> tuple[str, str]:
    assert point.dist is not None
    return point.dist.name, point.dist.version


def _name(stem: str, content: bytes) -> str:
    if not re.fullmatch(r"\w[\w-]{,59}", stem, re.ASCII):
        raise ValueError(
            f"{stem!r} cannot name an architecture: that takes up to 60 letters, digits, _ and -"
        )
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:8]}"


def _whole(where: str, load: Callable[[], Any]) -> Any:
    """What it loads. Raises ValueError, in one sentence, whatever is wrong with the code."""
    try:
        return load()
    except WRONG as error:
        raise ValueError(f"{where} cannot be loaded: {told(error)}") from error


def told(error: BaseException) -> str:
    """In one line, with the place in the code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((TORCH, "<"))]
    file, line = own[-1].filename, own[-1].lineno
    if isinstance(error, SyntaxError):
        file, line = error.filename or file, error.lineno
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__} at {Path(file).name}:{line}: {said}"


def _architecture(where: str, module: ModuleType) -> ModuleType:
    """Raises ValueError unless the module exports what one has to."""
    exports = vars(module)
    for wanted in ("SIZES", "Block"):
        if wanted not in exports:
            raise ValueError(
                f"{where} exports no {wanted}; an architecture's module has Config, SIZES, State "
                "and Block"
            )
    block, sizes = exports["Block"], exports["SIZES"]
    if not (isinstance(block, type) and issubclass(block, _spine.Block)):
        raise ValueError(f"{where}: its Block is not a subclass of archs._spine.Block")
    if not (isinstance(sizes, Mapping) and sizes):
        raise ValueError(f"{where}: its SIZES is not a mapping from a name to a Config")
    return module


for _known, _source in json.loads(os.environ.get(VARIABLE, "{}")).items():
    _remember(_known, Source(**_source))
