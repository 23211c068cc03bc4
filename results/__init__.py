"""What was observed, one JSON file a Case: `results/<label>/<case>.json`."""

from results.loading import Loaded, UnreadableRecord, load, read
from results.schema import (
    ROOT,
    SCHEMA,
    Case,
    Ceiling,
    Codec,
    Coding,
    Evaluation,
    Probe,
    Progress,
    Reading,
    Record,
    Remembrance,
    Tally,
    Visit,
)

__all__ = [
    "ROOT",
    "SCHEMA",
    "Case",
    "Ceiling",
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
    "Visit",
    "load",
    "read",
]
