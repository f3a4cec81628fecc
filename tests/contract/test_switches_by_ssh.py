"""The way to a switch by SSH, on a real SSH server: who is trusted, what is kept secret, and what ends a read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml

from steelyard.errors import Invalid, Unavailable
from steelyard.hardware.switches import SwitchReaders, open_switches, ssh
from steelyard.nouns import PortMode

from .ssh_switch import PASSWORD, USER, SshSwitch, ssh_switch
from .switch_personas import MAC, Port, personas

KINDS = sorted(personas())


@pytest.fixture(params=KINDS)
def switch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SshSwitch]:
    with ExitStack() as stack:
        yield stack.enter_context(ssh_switch(personas()[request.param], tmp_path))


@pytest.fixture
def eos(tmp_path: Path) -> Iterator[SshSwitch]:
    """One is enough where the operating system does not matter."""
    with ssh_switch(personas()["eos"], tmp_path) as switch:
        yield switch


def readers(switch: SshSwitch, **changes: Any) -> SwitchReaders:
    file = switch.folder / "switches.yaml"
    file.write_text(yaml.safe_dump({"switches": [switch.entry(**changes)]}))
    return open_switches(file)


def refusal(switch: SshSwitch, **changes: Any) -> str:
    with pytest.raises(Unavailable) as caught:
        readers(switch, **changes).ports(MAC)
    assert caught.value.code == "switch_unreadable"
    told = " ".join(filter(None, (caught.value.detail, caught.value.internal, caught.value.next)))
    assert PASSWORD not in told
    assert caught.value.__cause__ is None
    return caught.value.detail


def test_one_connection_reads_all_ports_without_a_terminal(switch: SshSwitch) -> None:
    switch.persona.ports[switch.persona.first] = Port(101, frozenset({7, 8}))
    switch.persona.ports[switch.persona.second] = Port(102)
    ports = {port.port_id: port for port in readers(switch).ports(MAC)}
    first, second = ports[switch.persona.first], ports[switch.persona.second]
    assert (first.untagged_vlan, first.tagged_vlans, first.mode) == (101, frozenset({7, 8}), PortMode.TRUNK)
    assert (second.untagged_vlan, second.tagged_vlans, second.mode) == (102, frozenset(), PortMode.ACCESS)
    assert (first.extra, second.extra, first.lag) == (None, None, None)
    assert (switch.connections, switch.terminals) == (1, 0)
    assert len(switch.commands) == len(set(switch.commands)) <= 5


def test_what_is_sent_only_reads(switch: SshSwitch) -> None:
    readers(switch).ports(MAC)
    words = ("show ", "nv show ", "ip -json ", "sonic-db-dump ")
    assert switch.commands
    assert all(command.startswith(words) for command in switch.commands)
    assert not any(mark in command for command in switch.commands for mark in (";", "&", ">", "\n", "conf"))


def test_a_switch_that_hangs_up_at_the_second_command_is_read_all_the_same(switch: SshSwitch) -> None:
    switch.one_command_per_connection = True
    assert len(readers(switch).ports(MAC)) == 2
    assert switch.connections == len(switch.commands) > 1


def test_a_command_that_the_switch_refuses_is_told_in_its_words(switch: SshSwitch) -> None:
    switch.persona.outputs = lambda ports, mac: {}
    said = switch.persona.refusal.strip()
    assert said in refusal(switch)


def test_another_switch_at_the_address_is_noticed(switch: SshSwitch) -> None:
    switch.persona.mac = "02:00:5e:00:00:99"
    assert "another switch" in refusal(switch, chassis_id=MAC)


def test_the_mac_that_a_switch_calls_its_own_may_be_named(switch: SshSwitch) -> None:
    switch.persona.mac = "02:00:5e:00:00:99"
    assert len(readers(switch, chassis_id=MAC, system_mac="0200.5E00.0099").ports(MAC)) == 2


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_truncated_output_is_unreadable(switch: SshSwitch, cut: int) -> None:
    switch.intercept = lambda command: switch.persona.answer(command)[0].rstrip("\n").removesuffix("{master:0}")[:cut]
    assert "no JSON" in refusal(switch)


@pytest.mark.parametrize("output", ["\x00\xff" * 40, "<html>", "null", "[]", "{}", '"x"', "1", "[" * 100_000, "NaN"])
def test_nonsense_is_unreadable(switch: SshSwitch, output: str) -> None:
    switch.intercept = lambda command: output
    refusal(switch)


# Who is trusted


def test_a_switch_with_another_host_key_is_refused_before_the_password_is_sent(eos: SshSwitch) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    (eos.folder / "known_hosts").write_text(f"[127.0.0.1]:{eos.port} {other}\n")
    assert "host key" in refusal(eos)
    assert eos.commands == []


@pytest.mark.parametrize("content", ["", "# nobody\n", "[127.0.0.2]:22 ssh-ed25519 AAAA\n"])
def test_a_switch_whose_host_key_is_not_known_is_refused(eos: SshSwitch, content: str) -> None:
    (eos.folder / "known_hosts").write_text(content)
    refusal(eos)
    assert eos.commands == []


def test_without_a_known_hosts_file_nothing_is_sent(eos: SshSwitch) -> None:
    assert "known_hosts" in refusal(eos, known_hosts_file=str(eos.folder / "nowhere"))
    assert eos.connections == 0


def test_a_wrong_password_is_refused_and_not_shown(eos: SshSwitch, caplog: pytest.LogCaptureFixture) -> None:
    (eos.folder / "password").write_text("wrong-and-secret\n")
    with caplog.at_level(logging.DEBUG):
        detail = refusal(eos)
    assert f"refuses the login of {USER}" in detail
    assert "wrong-and-secret" not in detail + caplog.text


def test_a_switch_that_asks_for_the_password_by_a_prompt_gets_it(eos: SshSwitch) -> None:
    """SSH's keyboard-interactive method, the only one where PAM or TACACS+ asks."""
    eos.asks_for_the_password = True
    assert len(readers(eos).ports(MAC)) == 2
    (eos.folder / "password").write_text("wrong-and-secret")
    assert "refuses the login" in refusal(eos, timeout=30)


def test_a_changed_password_needs_no_restart(eos: SshSwitch) -> None:
    reader = readers(eos)
    (eos.folder / "password").write_text("old")
    with pytest.raises(Unavailable):
        reader.ports(MAC)
    (eos.folder / "password").write_text(PASSWORD)
    assert len(reader.ports(MAC)) == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5000, b"\xff\xfe"])
def test_a_password_file_without_a_password_is_told(eos: SshSwitch, content: bytes) -> None:
    (eos.folder / "password").write_bytes(content)
    assert "password file" in refusal(eos)
    assert eos.connections == 0 or eos.commands == []


def test_a_key_instead_of_a_password(eos: SshSwitch) -> None:
    key = {"password_file": None, "key_file": str(eos.folder / "key")}
    assert len(readers(eos, **key).ports(MAC)) == 2
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    stranger.write_private_key(str(eos.folder / "key"))
    assert "refuses the login" in refusal(eos, **key)
    stranger.write_private_key(str(eos.folder / "key"), "pkcs8-pem", passphrase="nobody-types-it")
    assert "key file" in refusal(eos, **key)
    (eos.folder / "key").write_text("no key")
    assert "key file" in refusal(eos, **key)


def test_keys_that_lie_around_are_not_offered(eos: SshSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the switches file names: not the account's own keys, configuration or agent."""
    (eos.folder / ".ssh").mkdir()
    (eos.folder / ".ssh" / "id_ed25519").write_bytes((eos.folder / "key").read_bytes())
    (eos.folder / ".ssh" / "config").write_text("Host *\n  User root\n  StrictHostKeyChecking no\n")
    monkeypatch.setenv("HOME", str(eos.folder))
    (eos.folder / "password").write_text("wrong")
    assert f"refuses the login of {USER}" in refusal(eos)


# What ends a read


def test_a_switch_that_hangs_is_given_up_in_time(eos: SshSwitch) -> None:
    eos.hang = True
    began = time.monotonic()
    assert "no answer within 1 s" in refusal(eos, timeout=1)
    assert time.monotonic() - began < 8
    assert eos.commands, "it hung in the command"
    eos.hang = False
    assert len(readers(eos).ports(MAC)) == 2


def test_a_switch_that_prints_without_end_is_given_up(eos: SshSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "MAX_OUTPUT", 1 << 20)
    eos.endless = True
    assert "more than 1 MiB" in refusal(eos, timeout=60)


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with ssh_switch(personas()["eos"], tmp_path) as gone:
        pass
    assert "no SSH connection (ConnectionRefusedError)" in refusal(gone)


def test_what_is_no_ssh_server_is_told(eos: SshSwitch, tmp_path: Path) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2000)

        thread = threading.Thread(target=talk)
        thread.start()
        port = server.getsockname()[1]
        known = (eos.folder / "known_hosts").read_text().replace(str(eos.port), str(port))
        (eos.folder / "known_hosts").write_text(known)
        refusal(eos, port=port, timeout=5)
        thread.join()


# The switches file


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"password": "x"}, "unknown fields password"),
        ({"token_file": "/t"}, "unknown fields token_file"),
        ({"bridge": "br0"}, "unknown fields bridge"),
        ({"password_file": None}, "one of `password_file` and `key_file`"),
        ({"key_file": "/k"}, "one of `password_file` and `key_file`"),
        ({"known_hosts_file": None}, "`known_hosts_file` must be text"),
        ({"username": None}, "`username` must be text"),
        ({"address": "-oProxyCommand=x"}, "`address` is not"),
        ({"address": "http://x/y"}, "`address` is not"),
        ({"port": 0}, "`port` must be"),
        ({"port": 70000}, "`port` must be"),
        ({"port": 22.5}, "`port` must be"),
        ({"port": True}, "`port` must be"),
        ({"timeout": 0}, "`timeout` must be"),
        ({"timeout": 3600}, "`timeout` must be"),
        ({"timeout": "soon"}, "`timeout` must be"),
        ({"chassis_id": "leaf1"}, "`chassis_id` is not a MAC"),
        ({"system_mac": "leaf1"}, "`system_mac` is not a MAC"),
        ({"type": "ios"}, "known: cumulus, eos, junos, nxos, openvswitch, simulated, sonic"),
    ],
)
def test_a_wrong_entry_stops_the_start(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=None) as caught:
        readers(SshSwitch(personas()["eos"], tmp_path, port=22), **changes)
    assert caught.value.code == "switches_file"
    assert why in caught.value.detail
    assert "switch 1" in caught.value.detail


def test_ssh_is_loaded_only_where_a_switch_needs_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    file = tmp_path / "switches.yaml"
    entry = {"name": "a", "chassis_id": MAC, "type": "simulated", "address": "http://127.0.0.1:1", "token_file": "/t"}
    file.write_text(yaml.safe_dump({"switches": [entry]}))
    program = (
        "import sys, pathlib; from steelyard.hardware.switches import open_switches; "
        f"open_switches(pathlib.Path({str(file)!r})); print('asyncssh' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
