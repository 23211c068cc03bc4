"""What is fetched or computed once and then needs neither network nor time.

A file begins with the SHA-256 of the rest and appears under its name only when it is whole: one
that is missing, damaged or of an interrupted write is made again.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> Path:
    """$XDG_CACHE_HOME/seqfrontier, or under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqfrontier"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"the cache {folder()} cannot be used ({error.strerror}); set XDG_CACHE_HOME to a "
            "folder that can be written and has room"
        ) from None


def kept(name: str, make: Callable[[], bytes]) -> bytes:
    """The content of the file `name`; `make()` is called for it if there is none that is whole.

    Raises ValueError if the folder cannot be used, known before `make()` is called where it can be;
    and whatever `make()` raises.
    """
    path = folder() / name
    with _told():
        whole = path.read_bytes() if path.exists() else b""
        digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            return content
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        os.close(handle)
    try:
        content = make()
        with _told():
            with open(unfinished, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    return content
