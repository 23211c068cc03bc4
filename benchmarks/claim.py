"""A results folder is written by one sweep, or by the workers of one `submit` on several nodes.

The lock is on a file beside the folder, as NFS does not lock a folder; the system lets go of it
when the process that has it ends, however it ends.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path


def lock(path: Path, how: int = fcntl.LOCK_EX) -> int:
    """A descriptor that holds the file's lock until it is closed.

    Raises BlockingIOError if another has it, OSError if there can be none.
    """
    try:
        return _locked(path, os.O_RDONLY, how)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    return _locked(path, os.O_RDWR, how)  # NFS locks nothing that cannot be written


def _locked(path: Path, access: int, how: int) -> int:
    descriptor = os.open(path, access | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Claim:
    """The folder, for this process until it ends; `shared`: with others that claim it like that.

    Raises ValueError if it cannot be written, or others write it.
    """

    def __init__(self, folder: Path, shared: bool = False) -> None:
        self.folder = folder
        beside = folder.parent / f".{folder.name}.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink(missing_ok=True)  # another node's, too
            self.lock = lock(beside, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            self.claimed = os.open(folder, os.O_RDONLY)
            if not shared:  # what a killed one left half written
                for unfinished in folder.glob(".*.tmp"):
                    unfinished.unlink()
        except BlockingIOError:
            raise ValueError(
                f"another sweep is measuring into {folder}; "
                "wait for it, or give this one a --label of its own"
            ) from None
        except OSError as error:
            raise ValueError(
                f"results cannot be kept in {folder}: {error.strerror}; "
                "use --results DIR with a folder you may write"
            ) from None

    def holds(self) -> bool:
        """Whether the folder is still there, and the one that was claimed."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self.claimed), self.folder.stat())
        return False

    def release(self) -> None:
        os.close(self.claimed)
        os.close(self.lock)
