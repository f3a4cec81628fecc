"""The evil corpus: what is not what it claims to be, or reads other files, is refused.

The images are made byte by byte (QEMU docs/interop/qcow2.txt; VMware Virtual Disk Format 5.0).
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import Invalid
from steelyard.images.inspection import Inspection
from steelyard.images.model import DiskFormat

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS


def qcow2(
    *,
    version: int = 3,
    backing: bytes = b"",
    incompatible: int = 0,
    virtual_size: int = 10 << 20,
    encryption: int = 0,
    cut: int | None = None,
) -> bytes:
    """A qcow2 image of an empty disk: header, refcount table and block, one L1 table."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        0x200 if backing else 0,
        len(backing),
        CLUSTER_BITS,
        virtual_size,
        encryption,
        1,  # L1 entries
        3 * CLUSTER,  # L1 table
        CLUSTER,  # refcount table
        1,
        0,
        0,
    )
    header += struct.pack(">QQQII", incompatible, 0, 0, 4, 104)
    body = bytearray(3 * CLUSTER + 8)
    body[: len(header)] = header
    body[0x200 : 0x200 + len(backing)] = backing
    return bytes(body[:cut])


def vmdk_descriptor(extent: str = '/etc/shadow" 0') -> bytes:
    """A text file that makes a reader open another one."""
    return (
        '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW 2048 FLAT "{extent}\n'
    ).encode()


def vmdk_sparse() -> bytes:
    descriptor = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicSparse"\nRW 2048 SPARSE "disk.vmdk"\n'
    header = struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, 2048, 128, 1, 20, 512, 0, 21)
    return header.ljust(512, b"\0") + descriptor.ljust(20 * 512, b"\0") + bytes(1 << 20)


def iso(*, hybrid: bool = False) -> bytes:
    image = bytearray(40 * 2048)
    image[0x8000:0x8007] = b"\x01CD001\x01"
    struct.pack_into("<L", image, 0x8000 + 80, 40)
    struct.pack_into("<H", image, 0x8000 + 128, 2048)
    if hybrid:
        image[:512] = mbr()[:512]
    return bytes(image)


def mbr(size: int = 1 << 20) -> bytes:
    """A raw disk with one partition."""
    disk = bytearray(size)
    struct.pack_into("<B3BB3BII", disk, 446, 0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 2047)
    disk[510:512] = b"\x55\xaa"
    return bytes(disk)


def gpt(size: int = 1 << 20) -> bytes:
    disk = bytearray(size)
    struct.pack_into("<B3BB3BII", disk, 446, 0, 0, 2, 0, 0xEE, 0, 0, 0, 1, 2047)
    disk[510:512] = b"\x55\xaa"
    disk[512:520] = b"EFI PART"
    return bytes(disk)


def vdi() -> bytes:
    image = bytearray(4096)
    struct.pack_into("<I", image, 0x40, 0xBEDA107F)
    return bytes(image)


def raw_and_qcow2_and_iso() -> bytes:
    """A polyglot: each reader sees what it likes."""
    image = bytearray(iso())
    whole = qcow2()
    image[:512] = whole[:512]
    image.extend(bytes(max(0, len(whole) - len(image))))
    return bytes(image)


def verdict(data: bytes, claimed: DiskFormat, chunk: int = 1 << 20) -> str:
    """The code of the refusal, or `accepted`."""
    inspection = Inspection()
    for start in range(0, len(data), chunk):
        inspection.feed(data[start : start + chunk])
    try:
        inspection.require(claimed)
    except Invalid as error:
        return error.code
    return "accepted"


GOOD = {
    "qcow2 version 3": (qcow2(), DiskFormat.QCOW2),
    "qcow2 version 2": (qcow2(version=2), DiskFormat.QCOW2),
    "iso": (iso(), DiskFormat.ISO),
    "hybrid iso": (iso(hybrid=True), DiskFormat.ISO),
    "disk with an MBR": (mbr(), DiskFormat.RAW),
    "disk with a GPT": (gpt(), DiskFormat.RAW),
    "disk without partitions": (b"\0" * 4096, DiskFormat.RAW),
    "a few bytes": (b"hello", DiskFormat.RAW),
    "random bytes": (bytes(range(256)) * 4096, DiskFormat.RAW),
}

EVIL = {
    "qcow2 with a backing file": (qcow2(backing=b"/etc/shadow"), DiskFormat.QCOW2, "unsafe_image"),
    "qcow2 with a data file": (qcow2(incompatible=0b100), DiskFormat.QCOW2, "unsafe_image"),
    "qcow2 with unknown features": (qcow2(incompatible=1 << 40), DiskFormat.QCOW2, "unsafe_image"),
    "qcow2 of version 9": (qcow2(version=9), DiskFormat.QCOW2, "unsafe_image"),
    "encrypted qcow2": (qcow2(encryption=2), DiskFormat.QCOW2, "unsafe_image"),
    "qcow2 of no size": (qcow2(virtual_size=0), DiskFormat.QCOW2, "unsafe_image"),
    "qcow2 cut in its header": (qcow2(cut=80), DiskFormat.QCOW2, "unsafe_image"),
    "qcow2 cut before its L1 table": (qcow2(cut=70_000), DiskFormat.QCOW2, "unsafe_image"),
    "raw that is qcow2": (qcow2(), DiskFormat.RAW, "format_mismatch"),
    "raw that is a cut qcow2": (qcow2(cut=80), DiskFormat.RAW, "format_mismatch"),
    "raw that is a VMDK descriptor": (vmdk_descriptor(), DiskFormat.RAW, "format_mismatch"),
    "raw that is a padded VMDK descriptor": (
        vmdk_descriptor() + b"\0" * (3 << 20),
        DiskFormat.RAW,
        "format_mismatch",
    ),
    "raw that is a VMDK descriptor without its first line": (
        b"# nothing to see\n\nversion=1\n" + vmdk_descriptor().partition(b"\n")[2].partition(b"\n")[2],
        DiskFormat.RAW,
        "format_mismatch",
    ),
    "raw that is a sparse VMDK": (vmdk_sparse(), DiskFormat.RAW, "format_mismatch"),
    "raw that is VDI": (vdi(), DiskFormat.RAW, "format_mismatch"),
    "raw that is an ISO": (iso(), DiskFormat.RAW, "format_mismatch"),
    "raw that is LUKS": (b"LUKS\xba\xbe\0\1" + b"\0" * 4096, DiskFormat.RAW, "format_mismatch"),
    "qcow2 that is raw": (mbr(), DiskFormat.QCOW2, "format_mismatch"),
    "qcow2 that is VMDK": (vmdk_sparse(), DiskFormat.QCOW2, "format_mismatch"),
    "iso that is qcow2": (qcow2(), DiskFormat.ISO, "format_mismatch"),
    "iso that is raw": (gpt(), DiskFormat.ISO, "format_mismatch"),
    "polyglot as raw": (raw_and_qcow2_and_iso(), DiskFormat.RAW, "format_mismatch"),
    "polyglot as qcow2": (raw_and_qcow2_and_iso(), DiskFormat.QCOW2, "format_mismatch"),
    "polyglot as iso": (raw_and_qcow2_and_iso(), DiskFormat.ISO, "format_mismatch"),
    "nothing as raw": (b"", DiskFormat.RAW, "empty_image"),
    "nothing as qcow2": (b"", DiskFormat.QCOW2, "empty_image"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_image_is_accepted(name: str) -> None:
    data, claimed = GOOD[name]
    assert verdict(data, claimed) == "accepted"


@pytest.mark.parametrize("name", EVIL)
def test_an_evil_image_is_refused(name: str) -> None:
    data, claimed, code = EVIL[name]
    assert verdict(data, claimed) == code


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("chunk", [1, 7, 63, 511, 4096])
def test_how_the_sender_cuts_the_stream_changes_nothing(name: str, chunk: int) -> None:
    data, claimed, code = EVIL[name]
    beginning = data[: 64 << 10] if chunk < 63 else data  # one byte at a time over megabytes proves no more
    expected = verdict(beginning, claimed)
    assert verdict(beginning, claimed, chunk) == expected
    if beginning == data:
        assert expected == code


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"QFI\xfb", b"KDMV", b"# Disk DescriptorFile\n", b"conectix", b"vhdxfile", b"LUKS\xba\xbe"]),
    st.binary(max_size=70_000),
    st.sampled_from(DiskFormat),
)
def test_no_bytes_break_the_inspection(start: bytes, rest: bytes, claimed: DiskFormat) -> None:
    data = start + rest
    result = verdict(data, claimed)
    if start and claimed is DiskFormat.RAW:
        assert result == "format_mismatch"
    if claimed is not DiskFormat.RAW:
        assert result != "accepted" or start == b"QFI\xfb"


def test_the_refusal_says_what_it_really_is_and_what_to_do() -> None:
    inspection = Inspection()
    inspection.feed(qcow2())
    with pytest.raises(Invalid, match="not raw as claimed, but qcow2") as refusal:
        inspection.require(DiskFormat.RAW)
    assert refusal.value.next == "steelyard image add NAME FILE --disk-format qcow2"
