"""What was observed: one JSON file per Case, `results/<label>/<case>.json`, and the words to say it in."""

from results.schema import (
    ROOT,
    SCHEMA,
    Case,
    Evaluation,
    Loaded,
    Record,
    UnreadableRecord,
    load,
    read,
)

__all__ = [
    "ROOT",
    "SCHEMA",
    "Case",
    "Evaluation",
    "Loaded",
    "Record",
    "UnreadableRecord",
    "load",
    "read",
]
