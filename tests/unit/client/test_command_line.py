"""The command line as a whole: its table of commands, its options, its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steelyard import errors, main
from steelyard.client.errors import ApiError, OperationFailed
from steelyard.client.session import chosen

HEAVY = {"typer", "rich", "httpx", "openstack", "keystoneauth1", "sqlalchemy", "fastapi", "pydantic", "dbos", "asyncio"}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    code = end.value.code
    return code if isinstance(code, int) else 0


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def registered() -> list[tuple[str, Any]]:
    found = []
    for name in main.COMMANDS:
        group = main._load(name)
        if len(group.registered_commands) == 1 and group.registered_callback is None:  # type: ignore[attr-defined]
            continue  # one function: the command itself, looked at above
        found += [(f"{name} {each.name or ''}".strip(), each) for each in group.registered_commands]  # type: ignore[attr-defined]
    return found


class TestHelp:
    def test_of_all_imports_nothing_heavy(self) -> None:
        loaded = modules_after("from steelyard.main import root_help\nprint(root_help())")
        assert not loaded & HEAVY

    def test_of_a_command_imports_only_what_it_takes_to_show_it(self) -> None:
        code = "from steelyard.main import main\ntry:\n    main(['{}', '--help'])\nexcept SystemExit:\n    pass"
        for name in main.COMMANDS:
            if name != "serve":  # that one is the server
                assert not modules_after(code.format(name)) & (HEAVY - {"typer", "rich", "asyncio"}), name

    def test_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("--help") == 0
        out = capsys.readouterr().out
        assert all(f"  {name} " in out for name in main.COMMANDS)

    @pytest.mark.parametrize("name", main.COMMANDS)
    def test_of_each_command_shows_an_example(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(name, "--help") == 0
        out = capsys.readouterr().out
        assert f"steelyard {name}" in out.partition("Example")[2], out

    def test_every_sub_command_has_an_example_of_itself(self) -> None:
        for words, command in registered():
            assert f"steelyard {words}" in (command.epilog or ""), words

    def test_without_a_command(self) -> None:
        assert run() == 2


class TestDispatch:
    def test_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("sevrer", "list") == 2
        assert "steelyard server --help" in capsys.readouterr().err

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("version") == run("--version") == 0
        assert capsys.readouterr().out.startswith("steelyard 0.")

    @pytest.mark.parametrize(
        "line",
        [
            ["--os-cloud", "demo", "thing"], ["thing", "--os-cloud", "demo"], ["thing", "--os-cloud=demo"],
        ],
    )  # fmt: skip
    def test_global_options_anywhere(self, line: list[str]) -> None:
        rest, choices = main._global_options(line)
        assert rest == ["thing"]
        assert choices is not None
        assert choices.cloud == "demo"

    def test_not_behind_two_dashes(self) -> None:
        assert main._global_options(["a", "--", "--os-cloud", "x"]) == (["a", "--", "--os-cloud", "x"], None)

    @pytest.mark.parametrize("line", [["--os-cloud"], ["image", "--http-timeout", "soon"]])
    def test_without_their_value(self, line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert run(*line) == 2
        assert "error: " in capsys.readouterr().err

    def test_a_wrong_value_of_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("operation", "list", "--limit", "x") == 2
        assert run("operation", "nonsense") == 2
        assert run("operation", "show") == 2


class TestExitCodes:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
        def fail(error: BaseException) -> int:
            def load(_: str) -> Callable[..., object]:
                def app(**_: object) -> object:
                    raise error

                return app

            monkeypatch.setattr(main, "_load", load)
            return run("image", "list")

        return fail

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (OperationFailed("no"), 1),
            (ApiError(403, "forbidden", "no"), 3),
            (ApiError(404, "not_found", "no"), 4),
            (ApiError(409, "refused", "no"), 5),
            (ApiError(503, "unavailable", "no"), 6),
            (errors.Invalid("no"), 2),
            (errors.Forbidden("no"), 3),
            (errors.NotFound("no"), 4),
            (errors.Refused("no"), 5),
            (errors.DeadlineExceeded("no"), 6),
            (errors.SteelyardError("no"), 1),
            (ValueError("no"), 1),
            (KeyboardInterrupt(), 130),
        ],
    )
    def test_say_what_happened(self, failing: Callable[[BaseException], int], error: BaseException, code: int) -> None:
        assert failing(error) == code

    def test_the_reason_the_next_command_and_the_request(
        self, failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        failing(
            ApiError(409, "refused", "It is \x1b[31mdeployed.", next="steelyard server delete x", request_id="req-1")
        )
        assert capsys.readouterr().err.splitlines() == [
            "error: It is \\x1b[31mdeployed.",
            "next: steelyard server delete x",
            "request id: req-1",
        ]

    def test_a_reader_that_has_had_enough(self) -> None:
        script = "from steelyard.main import main; main(['--help'])"
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_names_that_the_terminal_cannot_show(self, tmp_path: Path) -> None:
        script = "import steelyard.main as m; m.root_help = lambda: 'ü日本'; m.main(['--help'])"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=False,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert done.returncode == 0
        assert done.stdout == b"\\xfc\\u65e5\\u672c\n"


@pytest.fixture(autouse=True)
def _fresh_choices() -> None:
    chosen.set(main._global_options(["--os-cloud", "none"])[1])  # type: ignore[arg-type]
