"""A home on disk: made, made again, half made, damaged, and its ports taken."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from steelyard.embedded import commands, home, loopback
from steelyard.embedded.credentials import GENERATED, Credentials, redacted
from steelyard.embedded.files import readable_errors, write_atomically
from steelyard.embedded.home import Wish
from steelyard.embedded.processes import Identity
from steelyard.embedded.status import Phase, Status
from steelyard.errors import Conflict, Invalid, NotFound, Unavailable

OPENSTACK = Path("/opt/openstack")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home"


def modes(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): oct(stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*")}


def test_a_new_home_is_closed_to_others(root: Path) -> None:
    previous = os.umask(0)  # whatever the user's umask is
    try:
        home.prepare(root, OPENSTACK, Wish())
    finally:
        os.umask(previous)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for name, mode in modes(root).items():
        assert mode == ("0o700" if (root / name).is_dir() else "0o600"), name


def test_secrets_are_generated_different_and_kept(root: Path) -> None:
    first = home.prepare(root, OPENSTACK, Wish()).credentials
    values = [first.get(name) for name in GENERATED]
    assert len(set(values)) == len(GENERATED)
    assert all(len(value) >= 32 for value in values)
    again = home.prepare(root, OPENSTACK, Wish()).credentials
    assert [again.get(name) for name in GENERATED] == values


def test_home_json_holds_no_secret(root: Path) -> None:
    made = home.prepare(root, OPENSTACK, Wish(database="postgresql://me:hidden@127.0.0.1:1/", rpc="rabbit://a:b@h/"))
    text = (root / "home.json").read_text()
    assert "hidden" not in text
    assert not any(value in text for value in made.credentials.values() if len(value) > 8)
    assert made.credentials.get("database_url") == "postgresql://me:hidden@127.0.0.1:1/"


def test_ports_are_chosen_once_and_free(root: Path) -> None:
    made = home.prepare(root, OPENSTACK, Wish())
    assert len(set(made.record.ports.values())) == len(home.PORT_NAMES)
    assert home.prepare(root, OPENSTACK, Wish()).record == made.record


def test_a_contrail_controller_has_a_port_and_is_fixed_when_the_home_is_made(root: Path) -> None:
    made = home.prepare(root, OPENSTACK, Wish(network="contrail"))
    assert made.record.network == "contrail"
    assert made.record.ports.keys() == {*home.PORT_NAMES, "contrail"}
    assert home.prepare(root, OPENSTACK, Wish()).record == made.record
    moved = home.prepare(root, OPENSTACK, Wish(new_ports=True)).record
    assert moved.ports["contrail"] != made.record.ports["contrail"]
    with pytest.raises(Conflict, match="network contrail"):
        home.prepare(root, OPENSTACK, Wish(network="neutron"))
    with pytest.raises(Invalid, match="neutron or contrail"):
        home.prepare(root, OPENSTACK, Wish(network="linuxbridge"))


def test_whether_switches_filter_is_fixed_when_the_home_is_made(root: Path) -> None:
    assert home.prepare(root, OPENSTACK, Wish(filters=False)).record.filters is False
    assert home.prepare(root, OPENSTACK, Wish()).record.filters is False
    assert home.prepare(root, OPENSTACK, Wish(filters=False)).record.filters is False
    with pytest.raises(Conflict, match="switches that filter nothing"):
        home.prepare(root, OPENSTACK, Wish(filters=True))


def test_the_number_of_nics_is_fixed_when_the_home_is_made(root: Path) -> None:
    assert home.prepare(root, OPENSTACK, Wish(nics=4)).record.nics == 4
    assert home.prepare(root, OPENSTACK, Wish()).record.nics == 4
    with pytest.raises(Conflict, match="made with nics 4"):
        home.prepare(root, OPENSTACK, Wish(nics=2))
    with pytest.raises(Invalid, match="1 to 4 NICs"):
        home.prepare(root, OPENSTACK, Wish(nics=5))


def test_a_home_of_an_earlier_release_stays_on_neutron(root: Path) -> None:
    home.prepare(root, OPENSTACK, Wish())
    record = json.loads((root / "home.json").read_text())
    del record["network"]
    (root / "home.json").write_text(json.dumps(record))
    assert home.load(root, OPENSTACK).record.network == "neutron"
    assert "contrail" not in home.prepare(root, OPENSTACK, Wish()).record.ports


@pytest.mark.parametrize("network", ["neutron", "contrail"])
def test_the_last_words_of_up_fit_the_home(root: Path, capsys: pytest.CaptureFixture[str], network: str) -> None:
    made = home.prepare(root, OPENSTACK, Wish(network=network))
    commands._say_what_next(made, Status(str(root), Identity(1, 1), Phase.UP, "now", ()), 12.0)
    said = capsys.readouterr().out
    assert made.url("steelyard") in said
    assert ("Contrail" in said) == (network == "contrail")
    if network == "contrail":
        assert made.url("contrail") in said


def test_two_homes_do_not_collide(tmp_path: Path) -> None:
    first = home.prepare(tmp_path / "a", OPENSTACK, Wish())
    with socket.socket() as bmc:  # as the first one's rack would listen
        bmc.bind((f"{first.record.rack_network}.1.1", first.port("bmc")))
        bmc.listen()
        second = home.prepare(tmp_path / "b", OPENSTACK, Wish())
    assert second.record.rack_network != first.record.rack_network
    assert second.credentials.get("admin_password") != first.credentials.get("admin_password")


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(root: Path) -> None:
    made = home.prepare(root, OPENSTACK, Wish())
    with socket.socket() as other:
        other.bind(("127.0.0.1", made.port("nova")))
        other.listen()
        with pytest.raises(Unavailable) as refused:
            home.prepare(root, OPENSTACK, Wish())
        assert refused.value.code == "port_in_use"
        assert f"port {made.port('nova')}" in refused.value.detail
        assert f"process {os.getpid()}" in refused.value.detail
        assert "--new-ports" in str(refused.value.next)
        moved = home.prepare(root, OPENSTACK, Wish(new_ports=True))
    assert moved.port("nova") != made.port("nova")
    assert moved.port("bmc") == made.port("bmc")  # enrolled nodes know it


def test_an_interrupted_home_is_mended(root: Path) -> None:
    made = home.prepare(root, OPENSTACK, Wish())
    (root / "home.json").unlink()
    (root / "secrets" / "nova_password").unlink()
    (root / "secrets" / "admin_password").write_text("")  # a full disk leaves this
    kept = made.credentials.get("demo_password")
    mended = home.prepare(root, OPENSTACK, Wish())
    assert mended.credentials.get("demo_password") == kept
    assert len(mended.credentials.get("nova_password")) >= 32
    assert len(mended.credentials.get("admin_password")) >= 32


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99}',
        '{"format": 1, "ports": {}, "rack_network": "127.5", "nodes": 1}',
        '{"format": 1, "ports": [], "rack_network": "127.5", "nodes": 1}',
        '{"format": 1, "surprise": 1}',
    ],
)
def test_a_damaged_record_is_refused_with_the_next_command(root: Path, content: str) -> None:
    home.prepare(root, OPENSTACK, Wish())
    (root / "home.json").write_text(content)
    with pytest.raises(Invalid) as refused:
        home.prepare(root, OPENSTACK, Wish())
    assert refused.value.code == "home_damaged"
    assert "reset --all" in str(refused.value.next)
    assert (root / "home.json").read_text() == content  # nothing is lost


def test_the_rack_grows_and_does_not_shrink(root: Path) -> None:
    home.prepare(root, OPENSTACK, Wish(nodes=8))
    assert home.prepare(root, OPENSTACK, Wish(nodes=12)).record.nodes == 12
    assert home.prepare(root, OPENSTACK, Wish()).record.nodes == 12
    with pytest.raises(Conflict, match="cannot shrink"):
        home.prepare(root, OPENSTACK, Wish(nodes=4))


@pytest.mark.parametrize("nodes", [0, -1, 1001])
def test_a_rack_has_1_to_1000_servers(root: Path, nodes: int) -> None:
    with pytest.raises(Invalid):
        home.prepare(root, OPENSTACK, Wish(nodes=nodes))
    assert not root.exists()


@pytest.mark.parametrize("url", ["mysql://h/", "postgresql://h/name", "postgresql:///", "sqlite:///x", "nonsense"])
def test_a_bad_database_address_is_refused(root: Path, url: str) -> None:
    with pytest.raises(Invalid, match="--database"):
        home.prepare(root, OPENSTACK, Wish(database=url))


@pytest.mark.parametrize("url", ["kafka://h/", "rabbit://", "nonsense", "fake"])
def test_a_bad_transport_is_refused(root: Path, url: str) -> None:
    with pytest.raises(Invalid, match="--rpc"):
        home.prepare(root, OPENSTACK, Wish(rpc=url))


def test_the_kind_of_database_is_fixed_when_the_home_is_made(root: Path) -> None:
    home.prepare(root, OPENSTACK, Wish())
    with pytest.raises(Conflict, match="sqlite"):
        home.prepare(root, OPENSTACK, Wish(database="postgresql://me@127.0.0.1:1/"))


@pytest.mark.parametrize("name", ["a b", "a,b", "a%b", "a$b", "a?b", "a#b", "a\nb", "a:b"])
def test_a_path_that_configuration_files_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="letters, digits"):
        home.prepare(tmp_path / name, OPENSTACK, Wish())


def test_no_home_is_said_plainly(root: Path) -> None:
    with pytest.raises(NotFound) as missing:
        home.load(root, OPENSTACK)
    assert missing.value.next == "steelyard up"


def test_a_lock_is_held_once(root: Path) -> None:
    with home.locked(root, "up") as mine:
        assert mine
        with home.locked(root, "up") as theirs:
            assert not theirs
        with home.locked(root, "supervisor") as other:
            assert other
    with home.locked(root, "up") as again:
        assert again


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new\udc80")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_said_plainly() -> None:
    with pytest.raises(Unavailable) as full, readable_errors(Path("/dev/full")), Path("/dev/full").open("w") as stream:
        stream.write("x")
        stream.flush()
    assert full.value.code == "disk_full"
    assert "free some space" in str(full.value.next)


def test_a_home_that_may_not_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot write"):
        home.prepare(tmp_path / "file" / "home", OPENSTACK, Wish())


def test_secrets_are_struck_out_of_what_is_shown(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path / "secrets")
    credentials.ensure()
    secret = credentials.get("admin_password")
    assert redacted(f"password={secret}!", credentials) == "password=***!"
    assert secret not in repr(credentials)


def test_listeners_are_seen_with_their_holder() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert ("127.0.0.1", port) in loopback.listeners()
        assert f"process {os.getpid()}" in loopback.holder(port)
        assert not loopback.is_free("127.0.0.1", port)
    assert loopback.is_free("127.0.0.1", port)


def test_home_json_is_what_the_rack_reads(root: Path) -> None:
    home.prepare(root, OPENSTACK, Wish())
    content = json.loads((root / "home.json").read_text())
    assert content["ramdisk_vlans"] == {"provisioning": 2001, "cleaning": 2002, "inspection": 2003, "rescue": 2005}
    assert content["rack_network"].startswith("127.")
    assert (content["segments"], content["first_segment_vlan"]) == (8, 2101)


@pytest.mark.parametrize(("nodes", "segments"), [(1, 1), (8, 8), (64, 64), (1000, 64)])
def test_each_node_can_have_a_segment_up_to_a_limit(root: Path, nodes: int, segments: int) -> None:
    made = home.prepare(root, OPENSTACK, Wish(nodes=nodes)).record
    assert list(made.segment_vlans) == list(range(2101, 2101 + segments))


def test_a_home_without_segments_gets_them_and_a_larger_rack_gets_more(root: Path) -> None:
    home.prepare(root, OPENSTACK, Wish(nodes=4))
    path = root / "home.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if "segment" not in key}
    path.write_text(json.dumps(content))
    assert home.load(root, OPENSTACK).record.segments == 0
    assert home.prepare(root, OPENSTACK, Wish()).record.segments == 4
    assert home.prepare(root, OPENSTACK, Wish(nodes=6)).record.segments == 6
