"""What was observed, one JSON file a Case: `results/<label>/<case>.json`."""

from results.schema import (
    ROOT,
    SCHEMA,
    Case,
    Evaluation,
    Loaded,
    Probe,
    Progress,
    Reading,
    Record,
    Remembrance,
    Tally,
    UnreadableRecord,
    Visit,
    load,
    read,
)

__all__ = [
    "ROOT",
    "SCHEMA",
    "Case",
    "Evaluation",
    "Loaded",
    "Probe",
    "Progress",
    "Reading",
    "Record",
    "Remembrance",
    "Tally",
    "UnreadableRecord",
    "Visit",
    "load",
    "read",
]
