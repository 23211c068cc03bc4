"""What was observed, one JSON file a Case: `results/<label>/<case>.json`."""

from results.schema import (
    ROOT,
    SCHEMA,
    Case,
    Codec,
    Coding,
    Evaluation,
    Loaded,
    Probe,
    Progress,
    Reading,
    Record,
    Remembrance,
    Tally,
    UnreadableRecord,
    load,
    read,
)

__all__ = [
    "ROOT",
    "SCHEMA",
    "Case",
    "Codec",
    "Coding",
    "Evaluation",
    "Loaded",
    "Probe",
    "Progress",
    "Reading",
    "Record",
    "Remembrance",
    "Tally",
    "UnreadableRecord",
    "load",
    "read",
]
