"""Files that are never half written and never readable by others."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from steelyard.errors import Unavailable

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def make_directory(path: Path) -> Path:
    """The directory, made (with missing parents) for the owner alone; an existing one is closed to others."""
    with readable_errors(path):
        for missing in [one for one in reversed(path.parents) if not one.exists()]:
            missing.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        path.chmod(PRIVATE_DIRECTORY)
    return path


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Put `text` at `path` with mode 0600, all or nothing: a reader sees the old content or the new.

    `durable` waits for the disk; a file that is written every few seconds for others to look at need not.
    Raises Unavailable when the disk is full or may not be written to.
    """
    with readable_errors(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(
                f"no space left on the disk that holds {path}",
                code="disk_full",
                next="free some space (or choose another place: export STEELYARD_HOME=…), then: steelyard up",
            ) from error
        raise Unavailable(
            f"cannot write {path}: {error.strerror}", code="home_not_writable", next="export STEELYARD_HOME=…"
        ) from error
