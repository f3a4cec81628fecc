"""Where an image rests between the one who sends it and the image service: long enough to be checked as a whole.

The file never has a name (O_TMPFILE), so nobody else can open it and nothing is left of it when the server is killed.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from steelyard.errors import TooLarge, Unavailable
from steelyard.images.inspection import Inspection
from steelyard.images.model import Checksum, DiskFormat, new_digest, require_checksum

SPARE_BYTES = 128 << 20
"""What the spool never takes: room for databases and logs on the same disk."""

CHECK_EVERY_BYTES = 64 << 20
"""How often free space is looked at while data of unknown length comes in."""


class Spool:
    """A directory for images on their way."""

    def __init__(self, directory: Path, *, max_bytes: int):
        self.directory = directory
        self.max_bytes = max_bytes

    def open(self, checksum: Checksum, *, size: int | None) -> SpoolFile:
        """A new file for an image with that checksum, of `size` bytes if that is known.

        Raises `TooLarge` (`image_too_large`), or `Unavailable` (`no_space`) before anything is sent.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if size is not None:
            self.require_within(size)
            self.require_space(size)
        return SpoolFile(self, checksum)

    def require_within(self, size: int) -> None:
        if size > self.max_bytes:
            raise TooLarge(
                f"The image is larger than the {amount(self.max_bytes)} that this server takes.",
                code="image_too_large",
            )

    def require_space(self, size: int) -> None:
        free = max(0, shutil.disk_usage(self.directory).free - SPARE_BYTES)
        if size > free:
            raise no_space(
                f"The image needs {amount(size)}; the server has {amount(free)} left for images on their way."
            )


def no_space(detail: str) -> Unavailable:
    return Unavailable(detail, code="no_space", next="ask the operator to free space, or try a smaller image")


def amount(size: int) -> str:
    """Bytes as people read them, in binary units."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


class SpoolFile:
    """An image on its way: written once, then checked, then read once. Closing it is the end of it."""

    def __init__(self, spool: Spool, checksum: Checksum):
        self._spool = spool
        self._checksum = checksum
        self._digest = new_digest(checksum)
        self._inspection = Inspection()
        self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=spool.directory, buffering=0))  # noqa: SIM115 - `close`
        self._checked_at = 0
        self.size = 0
        """Bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Raises `TooLarge` (`image_too_large`) or `Unavailable` (`no_space`)."""
        self._spool.require_within(self.size + len(chunk))
        if self.size - self._checked_at >= CHECK_EVERY_BYTES:
            self._spool.require_space(len(chunk))
            self._checked_at = self.size
        try:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise no_space("The server's disk is full.") from None
            raise
        self.size += len(chunk)
        self._digest.update(chunk)
        self._inspection.feed(chunk)

    def verified(self, claimed: DiskFormat) -> BinaryIO:
        """The data from its beginning, once it is what it was said to be. Raises `Invalid`."""
        require_checksum(self._checksum, self._digest.hexdigest())
        self._inspection.require(claimed)
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> SpoolFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
