from __future__ import annotations

import hashlib
import os
import stat
from collections import namedtuple
from pathlib import Path

import pytest

from steelyard.errors import Invalid, TooLarge, Unavailable
from steelyard.images import spool as module
from steelyard.images.model import DiskFormat, parse_checksum
from steelyard.images.spool import Spool, amount

DATA = b"a raw disk" * 1000
CHECKSUM = parse_checksum("sha256:" + hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", max_bytes=1 << 20)


def test_what_is_written_is_read_back_once_verified(spool: Spool) -> None:
    with spool.open(CHECKSUM, size=len(DATA)) as file:
        for start in range(0, len(DATA), 999):
            file.write(DATA[start : start + 999])
        assert file.size == len(DATA)
        assert file.verified(DiskFormat.RAW).read() == DATA


def test_the_file_has_no_name_and_no_other_reader(spool: Spool) -> None:
    with spool.open(CHECKSUM, size=None) as file:
        file.write(DATA)
        assert list(spool.directory.iterdir()) == []
        mode = stat.S_IMODE(os.fstat(file.verified(DiskFormat.RAW).fileno()).st_mode)
        assert mode & 0o077 == 0
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700
    assert list(spool.directory.iterdir()) == []


def test_another_checksum_is_refused(spool: Spool) -> None:
    with spool.open(CHECKSUM, size=None) as file:
        file.write(DATA + b"!")
        with pytest.raises(Invalid) as refusal:
            file.verified(DiskFormat.RAW)
    assert refusal.value.code == "checksum_mismatch"


def test_nothing_at_all_is_refused(spool: Spool) -> None:
    checksum = parse_checksum("sha256:" + hashlib.sha256().hexdigest())
    with spool.open(checksum, size=0) as file, pytest.raises(Invalid) as refusal:
        file.verified(DiskFormat.RAW)
    assert refusal.value.code == "empty_image"


def test_too_much_is_refused_as_soon_as_it_is_known(spool: Spool) -> None:
    with pytest.raises(TooLarge):
        spool.open(CHECKSUM, size=(1 << 20) + 1)
    with spool.open(CHECKSUM, size=None) as file:
        file.write(bytes(1 << 20))
        with pytest.raises(TooLarge) as refusal:
            file.write(b"!")
    assert refusal.value.code == "image_too_large"


def test_a_full_disk_is_seen_before_the_upload(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(1 << 40, 0, module.SPARE_BYTES + 1000))
    spool.open(CHECKSUM, size=1000).close()
    with pytest.raises(Unavailable) as refusal:
        spool.open(CHECKSUM, size=1001)
    assert refusal.value.code == "no_space"
    assert refusal.value.next
    assert str(spool.directory) not in refusal.value.detail


def test_a_disk_that_fills_up_on_the_way_is_a_clear_error(spool: Spool) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with spool.open(CHECKSUM, size=None) as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
            with pytest.raises(Unavailable) as refusal:
                file.write(bytes(10_000))
        assert refusal.value.code == "no_space"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_amounts_are_written_for_people() -> None:
    assert [amount(n) for n in (0, 1023, 1024, 1536 << 20, 3 << 50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "3072.0 TiB",
    ]
