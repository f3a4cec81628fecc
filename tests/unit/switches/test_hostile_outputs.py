"""Every parser with outputs that no healthy switch prints: an error that says why, never fewer ports, never a guess."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.hardware.switches import cumulus, eos, junos, nxos, sonic
from steelyard.hardware.switches.outputs import Family, Reading, Unreadable, checked, document, mac, vlan, vlans
from steelyard.naming import vlan_ranges

from ...contract.switch_personas import MAC, Persona, Port, personas

FAMILIES: dict[str, Family] = {
    "cumulus": cumulus.FAMILY,
    "eos": eos.FAMILY,
    "junos": junos.FAMILY,
    "nxos": nxos.FAMILY,
    "sonic": sonic.FAMILY,
}


@pytest.fixture(params=sorted(FAMILIES))
def persona(request: pytest.FixtureRequest) -> Persona:
    found = personas()[request.param]
    found.ports = {found.first: Port(101, frozenset({7})), found.second: Port(102)}
    return found


def outputs(persona: Persona) -> list[str]:
    return [persona.answer(command)[0] for command in FAMILIES[persona.type].commands]


def parse(persona: Persona, printed: list[str]) -> Reading:
    return checked(FAMILIES[persona.type].parse(printed))


def test_the_recorded_outputs_are_read(persona: Persona) -> None:
    reading = parse(persona, outputs(persona))
    assert MAC in reading.macs
    assert [(port.name, port.untagged, port.tagged) for port in reading.ports] == [
        (persona.first, 101, frozenset({7})),
        (persona.second, 102, frozenset()),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "% Invalid input (at token 1: 'vlan')",
        "% Authorization denied for command 'show interfaces status | json'",
        "error: permission denied: interfaces",
        "                  ^\nsyntax error, expecting <command>.",
        "-bash: nv: command not found",
        "Permission denied",
        "Error: You do not have permission to execute that command.",
    ],
)
def test_a_complaint_is_quoted(persona: Persona, said: str) -> None:
    for number, command in enumerate(FAMILIES[persona.type].commands):
        printed = outputs(persona)
        printed[number] = f"\n{said}\n"
        with pytest.raises(Unreadable) as caught:
            parse(persona, printed)
        words = said.strip().splitlines()[-1].strip()
        assert f"`{command}` printed no JSON: {words}" == str(caught.value)


def test_what_is_no_complaint_is_not_quoted(persona: Persona) -> None:
    """A banner may say anything, also what nobody should read in an error."""
    printed = ["Welcome. The password is hunter2.\n" + text for text in outputs(persona)]
    with pytest.raises(Unreadable) as caught:
        parse(persona, printed)
    assert "hunter2" not in str(caught.value)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_anywhere_it_is_unreadable(persona: Persona, data: st.DataObject) -> None:
    printed = outputs(persona)
    number = data.draw(st.integers(0, len(printed) - 1))
    whole = printed[number].rstrip().removesuffix("{master:0}").rstrip()
    printed[number] = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Unreadable):
        parse(persona, printed)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON document."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


STRANGE = [None, True, -1, 0, 4095, 1.5, "", "x", "4095", "0", "1-5000", "9-3", "٣", [], {}, [None], [{}], {"data": {}}]


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_strange_value_anywhere_never_makes_another_healthy_port(persona: Persona, data: st.DataObject) -> None:
    """It is unreadable, or it does not matter, or the port shows that something is not as it should be, or is gone."""
    printed = outputs(persona)
    healthy = {port.name: port for port in parse(persona, printed).ports}
    number = data.draw(st.integers(0, len(printed) - 1))
    whole = json.loads(printed[number].strip().removesuffix("{master:0}"))
    path, strange = data.draw(st.sampled_from(list(places(whole)))), data.draw(st.sampled_from(STRANGE))
    means_something = (
        (persona.type == "sonic" and path == () and strange == {})  # a table that is empty
        or (path[-1:] == ("trunkingNativeVlanId",) and strange == 0)  # the native VLAN is tagged, too
    )
    if means_something:
        return
    printed[number] = json.dumps(replaced(whole, path, strange))
    try:
        found = parse(persona, printed).ports
    except Unreadable:
        return
    for port in found:
        before = healthy.get(port.name)
        carried = before is not None and (port.untagged, port.tagged) == (before.untagged, before.tagged)
        assert carried or port.extra, f"{strange!r} at {path} made {port} of {before}"


@pytest.mark.parametrize("value", [0, 4095, -1, True, None, 1.0, "", "0", "4095", "x", "1 2", "٣", "1e2", [1], {}])
def test_what_is_no_vlan(value: Any) -> None:
    with pytest.raises(Unreadable):
        vlan(value, "it")


@pytest.mark.parametrize("value", ["", "1-", "-1", "5-4", "1,,2", "1-4095", "ALL", "1..3", None, True, [1]])
def test_what_is_no_list_of_vlans(value: Any) -> None:
    with pytest.raises(Unreadable):
        vlans(value, "it")


@given(st.frozensets(st.integers(1, 4094), min_size=1))
def test_lists_of_vlans_are_written_as_they_are_read(numbers: frozenset[int]) -> None:
    assert vlans(vlan_ranges(numbers), "it") == numbers


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("001c.73aa.bbcc", "00:1c:73:aa:bb:cc"),
        ("00:1C:73:AA:BB:CC", "00:1c:73:aa:bb:cc"),
        ("00-1c-73-aa-bb-cc", "00:1c:73:aa:bb:cc"),
        (" 001c73aabbcc\n", "00:1c:73:aa:bb:cc"),
        ("leaf1", None),
        ("00:1c:73:aa:bb", None),
        (None, None),
        (7, None),
    ],
)
def test_macs_in_every_notation(written: Any, read: str | None) -> None:
    assert mac(written) == read


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"p": {"x": 1, "x": 1}}'])
def test_a_key_that_is_there_twice_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable, match="twice"):
        document(text, "show")


@pytest.mark.parametrize(
    "make",
    [
        lambda: FAMILIES["eos"].parse(["{}", '{"interfaceStatuses": {}}', '{"switchports": {}}']),
        lambda: FAMILIES["sonic"].parse(
            [json.dumps({"DEVICE_METADATA|localhost": {"value": {"mac": MAC}}}), "{}", "{}", "{}", "{}"]
        ),
        lambda: FAMILIES["cumulus"].parse(['{"domain": {}}', "[]"]),
        lambda: FAMILIES["junos"].parse(
            ['{"lldp-local-info": []}', '{"interface-information": []}', '{"l2ng-l2ald-iff-interface-information": []}']
        ),
        lambda: FAMILIES["nxos"].parse([json.dumps({"TABLE_interface": {"ROW_interface": []}})] * 2),
    ],
)  # fmt: skip
def test_no_ports_is_never_an_empty_list(make: Callable[[], Reading]) -> None:
    with pytest.raises(Unreadable, match="no ports"):
        checked(make())


def test_more_ports_than_a_switch_has_are_unreadable() -> None:
    persona = personas()["sonic"]
    persona.ports = {f"Ethernet{number}": Port(5) for number in range(5000)}
    with pytest.raises(Unreadable, match="5000 ports"):
        parse(persona, outputs(persona))
