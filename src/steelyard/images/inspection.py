"""What the bytes of an image really are, decided while they stream by.

The parsing is oslo.utils' format inspector (the one that Glance, Nova and Ironic use since CVE-2024-32498), which
never hands a file to qemu-img. Here are the rules for what is accepted: exactly the format that was claimed, and
nothing in it that makes a reader open another file.

Two gaps of the inspector are closed here. Its verdict on a VMDK descriptor depends on how the stream was cut into
chunks, which the sender chooses: the beginning is therefore gathered first. And a header that is cut short counts as
"raw" there, while qemu still goes by its first bytes: those are looked at as well.
"""

from __future__ import annotations

import io
import logging
import struct
from typing import Any

from oslo_utils.imageutils import format_inspector

from steelyard.errors import Invalid
from steelyard.images.model import DiskFormat

# It warns about every format that a file is not; what matters is in the error that the user gets.
logging.getLogger(format_inspector.__name__).setLevel(logging.CRITICAL)

HEAD_BYTES = 2 << 20
"""More than any inspector wants to see in one piece (VMDK's descriptor: 1 MiB)."""

_MAY_ALSO_BE: dict[DiskFormat, frozenset[str]] = {
    # A raw disk has a partition table, which is no image format but looks like one to the inspector.
    DiskFormat.RAW: frozenset({"raw", "gpt"}),
    DiskFormat.QCOW2: frozenset({"qcow2"}),
    # Hybrid ISOs, which boot from a stick as well, carry a partition table in their first sector.
    DiskFormat.ISO: frozenset({"iso", "gpt"}),
}

_FIRST_BYTES = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
)

_WHY = {
    "backing_file": "it reads from another file (a backing file)",
    "data_file": "it keeps its data in another file (an external data file)",
    "unknown_features": "it uses features that are not known to be safe",
}


class Inspection:
    """Looks at an image while it is written elsewhere: `feed` each chunk, then `require` the claimed format."""

    def __init__(self) -> None:
        self._source = _Chunks()
        self._wrapper = format_inspector.InspectWrapper(self._source)
        self._head = bytearray()
        self._head_seen = False
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._head_seen:
            self._inspect(chunk)
            return
        self._head += chunk
        if len(self._head) >= HEAD_BYTES:
            self._end_head()

    def require(self, claimed: DiskFormat) -> None:
        """The verdict, after the last chunk. Raises `Invalid` (`empty_image`, `format_mismatch`, `unsafe_image`)."""
        if self._size == 0:
            raise Invalid("The image is empty.", code="empty_image")
        if not self._head_seen:
            self._end_head()
        self._wrapper.close()
        found: dict[str, Any] = {str(inspector): inspector for inspector in self._wrapper.formats or []}
        names = set(found) - {"raw"} | _first_bytes_say(bytes(self._head)) or {"raw"}
        _require_claimed(claimed, names)
        if claimed is DiskFormat.QCOW2:
            _require_safe_qcow2(found.get("qcow2"), self._size)

    def _end_head(self) -> None:
        self._inspect(bytes(self._head))
        del self._head[4096:]
        self._head_seen = True

    def _inspect(self, chunk: bytes) -> None:
        self._source.chunk = chunk
        self._wrapper.read(len(chunk))


def _first_bytes_say(head: bytes) -> set[str]:
    formats = {name for offset, magic, name in _FIRST_BYTES if head[offset:].startswith(magic)}
    # qemu takes any text with this first line (or with version= after comments) for a VMDK descriptor.
    text = [line for line in head.lower().replace(b"\r", b"").split(b"\n") if line.strip()]
    commands = [line for line in text if not line.startswith(b"#")]
    if (text and text[0].startswith(b"# disk descriptorfile")) or (commands and commands[0].startswith(b"version=")):
        formats.add("vmdk")
    return formats


def _require_claimed(claimed: DiskFormat, names: set[str]) -> None:
    if claimed.value not in names and not (claimed is DiskFormat.RAW and names == {"gpt"}):
        really = " and ".join(sorted(names - {"gpt"})) or "raw"
        raise Invalid(
            f"The data is not {claimed} as claimed, but {really}. Nothing was stored.",
            code="format_mismatch",
            next=f"steelyard image add NAME FILE --disk-format {really}"
            if really in set(DiskFormat)
            else "qemu-img convert -O qcow2 FILE FILE.qcow2",
        )
    if surplus := names - _MAY_ALSO_BE[claimed]:
        raise Invalid(
            f"The data can be read as {claimed} and as {' and '.join(sorted(surplus))}; an image must be one thing "
            "only. Nothing was stored.",
            code="format_mismatch",
        )


def _require_safe_qcow2(inspector: Any, size: int) -> None:
    """A qcow2 image that is whole in itself, and all there (QEMU, docs/interop/qcow2.txt, "Header")."""
    if inspector is None:
        raise _damaged()
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as failed:
        why = "; ".join(_WHY.get(name, f"it fails the check {name}") for name in sorted(failed.failures))
        raise Invalid(
            f"The qcow2 image is not safe: {why}. Nothing was stored.",
            code="unsafe_image",
            next="qemu-img convert -O qcow2 FILE FLAT.qcow2",
        ) from None
    except format_inspector.ImageFormatError:
        raise _damaged() from None
    cluster_bits, virtual_size, encryption, l1_entries, l1_offset = struct.unpack_from(
        ">IQIIQ", inspector.region("header").data, 20
    )
    if encryption:
        raise Invalid(
            "The qcow2 image is encrypted; a server could not read it. Nothing was stored.", code="unsafe_image"
        )
    if virtual_size == 0 or not 9 <= cluster_bits <= 21 or l1_offset + 8 * l1_entries > size:
        raise _damaged()


def _damaged() -> Invalid:
    return Invalid(
        "The qcow2 image is damaged or cut short. Nothing was stored.",
        code="unsafe_image",
        next="qemu-img check FILE",
    )


class _Chunks(io.RawIOBase):
    """A file for the inspector to read from: whatever chunk was put in last."""

    chunk: bytes = b""

    def read(self, size: int = -1) -> bytes:
        del size  # one chunk per read, by construction
        chunk, self.chunk = self.chunk, b""
        return chunk
