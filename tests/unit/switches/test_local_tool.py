"""Running a tool of this machine: what ends it, and what is not believed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from steelyard.hardware.switches import local_tool
from steelyard.hardware.switches.local_tool import LocalTool
from steelyard.hardware.switches.session import SessionFailed


def tool(folder: Path, script: str, *, timeout: float = 20.0) -> LocalTool:
    program = folder / "tool"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return LocalTool(str(program), ("--first",), timeout)


def test_each_command_is_its_words_and_no_shell_reads_them(tmp_path: Path) -> None:
    echo = tool(tmp_path, 'printf "%s\\n" "$@"')
    assert echo.run(["a $HOME ;b", "c"], exit_status_counts=True) == ["--first\na\n$HOME\n;b\n", "--first\nc\n"]


def test_a_status_counts_only_where_it_is_said_to(tmp_path: Path) -> None:
    failing = tool(tmp_path, "echo kept; echo 'error: no permission' >&2; echo secret >&2; exit 3")
    assert failing.run(["x"], exit_status_counts=False) == ["kept\n"]
    with pytest.raises(SessionFailed, match=r"ended with status 3: error: no permission$"):
        failing.run(["x"], exit_status_counts=True)


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SessionFailed, match=r"no answer within 0.5 s"):
        tool(tmp_path, "exec sleep 300", timeout=0.5).run(["x"], exit_status_counts=True)
    assert time.monotonic() - began < 60


def test_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_tool, "MAX_OUTPUT", 1 << 20)
    with pytest.raises(SessionFailed, match="more than 1 MiB"):
        tool(tmp_path, "head -c 1048577 /dev/zero").run(["x"], exit_status_counts=True)
    assert len(tool(tmp_path, "head -c 1048576 /dev/zero").run(["x"], exit_status_counts=True)[0]) == 1 << 20


def test_what_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(SessionFailed, match="no UTF-8"):
        tool(tmp_path, r"printf '\377'").run(["x"], exit_status_counts=True)


def test_what_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(SessionFailed, match="not installed here"):
        LocalTool(str(tmp_path / "nothing"), (), 1.0).run(["x"], exit_status_counts=True)
    (tmp_path / "no-program").write_text("")
    with pytest.raises(SessionFailed, match="PermissionError"):
        LocalTool(str(tmp_path / "no-program"), (), 1.0).run(["x"], exit_status_counts=True)
