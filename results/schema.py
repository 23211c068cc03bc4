"""The one language that benchmarks/ writes and report/ reads. Standard library only.

A Case is a question; a Record is what was observed when it was asked. Rates, ratios and
utilisations are not here: they are arithmetic, and arithmetic belongs to report/, so that a
better formula re-reads old data. Units are SI and stand in the name: _s seconds, _bytes bytes,
_nats natural-log units of loss.
"""

import json
import os
import tempfile
import types
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parent
SCHEMA = 1

Phase = Literal["train", "prefill", "decode", "quality", "peer-train", "peer-decode"]
Status = Literal["ok", "oom", "timeout", "diverged", "error"]


class UnreadableRecord(ValueError):
    """A file under results/ that is not a Record this version can read; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A frozen question. `str(case)` is its test id and its file name."""

    phase: Phase
    arch: str
    size: str
    seq_len: int  # tokens read at once; in decode, the context already read
    batch: int
    dtype: str = "float32"
    seed: int = 0
    tokens: int | None = None  # quality: training tokens, the whole budget
    lr: float | None = None  # quality: peak learning rate
    corpus: str | None = None  # quality: the text's name
    kernel: str = "auto"  # of the architecture's ops, those that have one of this name
    impl: str = "seqfrontier"  # peer-*: whose code ran

    def __str__(self) -> str:
        parts = [self.phase, self.arch, self.size, f"T{self.seq_len}", f"B{self.batch}", self.dtype]
        parts += [self.kernel] * (self.kernel != "auto")
        parts += [self.impl] * self.phase.startswith("peer")
        if self.phase == "quality":
            parts += [f"n{self.tokens}", f"lr{self.lr:g}", f"{self.corpus}"]
        return "-".join([*parts, f"s{self.seed}"])


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Held-out loss in windows of `context` tokens, summed apart by position in the window.

    Bin i holds the targets predicted from `position_edges[i]` up to, not including,
    `position_edges[i + 1]` tokens; the last bin ends with the window.
    """

    split: Literal["valid", "test"]
    context: int
    position_edges: tuple[int, ...]
    nats: tuple[float, ...]  # sum of negative log-likelihood in each bin
    tokens: tuple[int, ...]  # targets in each bin
    target_bytes: int  # bytes of text that those targets spell


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was observed, raw. A None is a quantity that was not, or could not be, observed."""

    case: Case
    label: str
    status: Status
    reason: str | None = None  # why the status is not ok, in one sentence
    measured_at: str  # UTC, ISO 8601
    commit: str | None  # None: not run from a git checkout
    versions: dict[str, str]
    machine: dict[str, Any]
    # by name ("matmul-float32", "copy"): work per sample in FLOPs or bytes, and samples in seconds
    ceilings: dict[str, dict[str, Any]] = field(default_factory=dict)
    params: int | None = None
    embedding_params: int | None = None
    param_bytes: int | None = None
    forward_flops: int | None = None  # analytic, a token, mean over seq_len; None: unknown
    state_bytes: int | None = None  # of the live state tensors after reading seq_len tokens
    peak_bytes: int | None = None
    peak_method: str | None = None
    kernels: dict[str, str] = field(default_factory=dict)  # op to the kernel of it that ran
    step_s: tuple[float, ...] = ()  # every timed step in order, never trimmed
    step_clock: Literal["wall", "process cpu"] = "wall"
    corpus_sha256: str | None = None
    train_nats: tuple[float, ...] = ()  # mean loss of each optimizer step; peer-*: the one loss
    train_s: float | None = None
    evaluations: tuple[Evaluation, ...] = ()
    schema: int = SCHEMA

    def path(self, root: Path = ROOT) -> Path:
        return record_path(self.case, self.label, root)

    def save(self, root: Path = ROOT) -> Path:
        """Write the Record whole or not at all, so that a kill leaves no half file.

        Raises OSError if the folder cannot be written or the disk is full, ValueError on a NaN.
        """
        text = json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"
        path = self.path(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(unfinished, 0o644)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise
        return path


def record_path(case: Case, label: str, root: Path = ROOT) -> Path:
    return root / label / f"{case}.json"


def _as(kind: Any, value: Any) -> Any:
    """`value`, from JSON, as the annotated type; TypeError where it does not fit."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None and types.NoneType in args:
            return None
        return _as(next(arg for arg in args if arg is not types.NoneType), value)
    if origin is Literal:
        if value not in args:
            raise TypeError(f"{value!r} is none of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return tuple(_as(args[0], item) for item in value)
    if kind in (Case, Evaluation, Record):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is not an object")
        hints = typing.get_type_hints(kind)
        if unknown := value.keys() - {f.name for f in fields(kind)}:
            raise TypeError(f"unknown field {sorted(unknown)[0]!r}")
        return kind(**{name: _as(hints[name], item) for name, item in value.items()})
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin or kind
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise TypeError(f"{value!r} is not {plain.__name__}")
    return value


def read(path: Path) -> Record:
    """The Record in `path`. Raises UnreadableRecord, naming the file, if it does not hold one."""
    try:
        raw = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UnreadableRecord(
            f"{path} is not a readable Record ({error}); delete it and measure that case again"
        ) from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise UnreadableRecord(
            f"{path} has schema {schema}, newer than this version reads ({SCHEMA}); "
            "update seqfrontier"
        )
    try:
        record: Record = _as(Record, raw)
    except TypeError as error:
        raise UnreadableRecord(
            f"{path} is not a Record ({error}); delete it and measure that case again"
        ) from error
    return record


@dataclass(frozen=True)
class Loaded:
    """Every readable Record, and one sentence for each file that is not."""

    records: list[Record]
    unreadable: list[str]


def load(labels: Iterable[str] | None = None, root: Path = ROOT) -> Loaded:
    """All Records of `labels` (default: every label under `root`).

    Raises ValueError on a label without a folder; an unreadable file costs only itself.
    """
    have = sorted(p.name for p in root.iterdir() if p.is_dir() and any(p.glob("*.json")))
    wanted = have if labels is None else list(labels)
    for label in wanted:
        if label not in have:
            raise ValueError(
                f"no results labelled {label!r} in {root}; it holds {', '.join(have) or 'none'}"
            )
    loaded = Loaded([], [])
    for path in (path for label in wanted for path in sorted((root / label).glob("*.json"))):
        try:
            loaded.records.append(read(path))
        except UnreadableRecord as error:
            loaded.unreadable.append(str(error))
    return loaded
