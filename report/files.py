"""Files that are written whole or not at all, and names for them."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

LONGEST_STEM = 40  # characters of a label, or of a size, in a file's name of 255 bytes


def slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "unnamed"


def stem(name: str) -> str:
    """What the names of files have of a label or a size, which a Record may call anything: itself
    where that can be, else the like of it and a hash, so that no two are alike."""
    if slug(name) == name and len(name) <= LONGEST_STEM:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{slug(name)[:LONGEST_STEM]}-{digest}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written, which then takes its place, even a link's; if that fails
    midway, `path` stays what it was. Raises OSError if the folder cannot be written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write(path: Path, text: str) -> Path:
    """In UTF-8, where half a character becomes a question mark."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    return path
