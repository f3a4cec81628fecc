"""The contracts of `Nodes`, `Provisioning` and `NodePorts`."""

from __future__ import annotations

import secrets

import pytest

from steelyard.clouds.ports import NodePorts, Nodes, Provisioning
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound
from steelyard.nouns import AttachmentSpec, NodePort, NodePortSpec, NodeSpec, SwitchLink

from .stages import Stage

LINK = SwitchLink(switch_id="02:00:5e:00:53:aa", port_id="Ethernet9/1", switch_name="leaf9")


def test_a_node_is_enrolled_and_found(stage: Stage) -> None:
    assert isinstance(stage.own.nodes, Nodes)
    node = stage.add_node(resource_class="contract.none")
    assert node.provision_state == "enroll"
    assert node.driver == "manual-management"
    assert node.resource_class == "contract.none"
    assert node.bmc_address == "https://192.0.2.77"
    assert node.properties["cpu_arch"] == "x86_64"
    assert node.extra["steelyard"] == {"made": "here"}
    assert (node.maintenance, node.retired, node.protected) == (False, False, False)
    assert node.instance_id is None
    assert stage.own.nodes.get(node.id).name == node.name
    assert stage.own.nodes.get(node.name or "").id == node.id
    assert node.id in {found.id for found in stage.own.nodes.all()}


def test_no_bmc_password_comes_back(stage: Stage) -> None:
    node = stage.add_node()
    assert "canary-in-driver-info" not in repr([node, stage.own.nodes.get(node.id), stage.own.nodes.all()])


def test_a_name_is_taken_once(stage: Stage) -> None:
    node = stage.add_node()
    with pytest.raises(Duplicate):
        stage.add_node(name=node.name)


def test_bad_nodes_are_refused_and_the_reason_holds_no_secret(stage: Stage) -> None:
    with pytest.raises(Invalid) as caught:
        stage.own.nodes.create(NodeSpec(stage.name("node"), "", {"redfish_password": "canary-4711"}))
    assert "canary-4711" not in f"{caught.value!r} {caught.value.internal}"


def test_fields_are_set_and_removed(stage: Stage) -> None:
    node = stage.add_node()
    changed = stage.own.nodes.update(
        node.id,
        {
            "/resource_class": "contract.changed",
            "/extra/steelyard": {"note": "x", "more": {"deep": 1}},
            "/extra/a-b": "dash",
            "/properties/capabilities": "boot_mode:uefi",
            "/owner": stage.other_project_id,
        },
    )
    assert changed.resource_class == "contract.changed"
    assert changed.extra == {"steelyard": {"note": "x", "more": {"deep": 1}}, "a-b": "dash"}
    assert changed.properties["capabilities"] == "boot_mode:uefi"
    assert changed.owner == stage.other_project_id
    removed = stage.own.nodes.update(
        node.id, {"/extra/steelyard": None, "/extra/a-b": None, "/owner": None, "/extra/never": None}
    )
    assert removed.extra == {}
    assert removed.owner is None
    assert stage.own.nodes.get(node.id).extra == {}


@pytest.mark.parametrize("path", ["extra", "/", "/no_such_field", "/extra/no/parent", "/extra/a~1b", "/extra//x"])
def test_odd_changes_are_invalid(stage: Stage, path: str) -> None:
    node = stage.add_node()
    with pytest.raises(Invalid):
        stage.own.nodes.update(node.id, {path: "x"})


def test_traits_are_replaced(stage: Stage) -> None:
    node = stage.add_node()
    stage.own.nodes.set_traits(node.id, frozenset({"CUSTOM_A", "CUSTOM_B"}))
    assert stage.own.nodes.get(node.id).traits == {"CUSTOM_A", "CUSTOM_B"}
    stage.own.nodes.set_traits(node.id, frozenset({"CUSTOM_C"}))
    assert {n.id: n.traits for n in stage.own.nodes.all()}[node.id] == {"CUSTOM_C"}
    with pytest.raises(Invalid):
        stage.own.nodes.set_traits(node.id, frozenset({"not a trait"}))


def test_maintenance_goes_on_and_off(stage: Stage) -> None:
    node = stage.add_node()
    stage.own.nodes.set_maintenance(node.id, "because")
    assert (stage.own.nodes.get(node.id).maintenance, stage.own.nodes.get(node.id).maintenance_reason) == (
        True,
        "because",
    )
    stage.own.nodes.set_maintenance(node.id, None)
    assert not stage.own.nodes.get(node.id).maintenance


def test_in_maintenance_a_clean_is_accepted_and_other_work_is_not(stage: Stage) -> None:
    """With `allow_provisioning_in_maintenance`, which is Ironic's default."""
    node = stage.add_node()
    own = stage.own
    own.provisioning.request(node.id, "manage")
    stage.until(lambda: own.nodes.get(node.id).provision_state == "manageable")
    own.nodes.set_maintenance(node.id, "a fan is changed")
    with pytest.raises(Conflict):
        own.provisioning.request(node.id, "clean", steps=[{"interface": "deploy", "step": "erase_devices"}])
    own.provisioning.request(node.id, "provide")
    stage.until(lambda: own.nodes.get(node.id).provision_state in {"clean wait", "available"})
    if own.nodes.get(node.id).provision_state == "available":  # a real one without an agent has nothing to wait for
        with pytest.raises(Conflict):
            own.provisioning.request(node.id, "active")
    assert own.nodes.get(node.id).maintenance
    own.nodes.set_maintenance(node.id, None)
    stage.until(lambda: own.nodes.get(node.id).provision_state == "available")


def test_what_an_operator_notes_is_seen(stage: Stage) -> None:
    node = stage.add_node()
    assert (node.automated_clean, node.protected_reason, node.description) == (None, None, None)
    assert (node.target_power_state, node.fault, node.health) == (None, None, None)
    assert (node.network_interface, node.power_interface) == ("noop", "fake")
    assert node.driver_notes == {}
    changed = stage.own.nodes.update(node.id, {"/automated_clean": False, "/description": "rack 7, under the stairs"})
    assert (changed.automated_clean, changed.description) == (False, "rack 7, under the stairs")
    assert {n.id: n.automated_clean for n in stage.own.nodes.all()}[node.id] is False
    back = stage.own.nodes.update(node.id, {"/automated_clean": None})
    assert back.automated_clean is None


def test_only_what_is_deployed_is_protected(stage: Stage) -> None:
    node = stage.add_node()
    with pytest.raises(Conflict):
        stage.own.nodes.update(node.id, {"/protected": True, "/protected_reason": "because"})
    assert not stage.own.nodes.get(node.id).protected
    stage.own.provisioning.request(node.id, "manage")
    stage.until(lambda: stage.own.nodes.get(node.id).provision_state == "manageable")
    stage.own.provisioning.request(node.id, "adopt")
    stage.until(lambda: stage.own.nodes.get(node.id).provision_state == "active")
    kept = stage.own.nodes.update(node.id, {"/protected": True, "/protected_reason": "because"})
    assert (kept.protected, kept.protected_reason) == (True, "because")
    stage.own.nodes.set_maintenance(node.id, "broken fan")
    with pytest.raises(Conflict):
        stage.own.nodes.delete(node.id)
    with pytest.raises(Conflict):
        stage.own.provisioning.request(node.id, "deleted")
    free = stage.own.nodes.update(node.id, {"/protected": False})
    assert (free.protected, free.protected_reason) == (False, None)
    stage.own.nodes.delete(node.id)


def test_a_node_that_is_not_to_be_cleaned_is_made_available_as_it_is(stage: Stage) -> None:
    node = stage.add_node()
    stage.own.nodes.update(node.id, {"/automated_clean": False})
    seen: set[str] = set()
    stage.own.provisioning.request(node.id, "manage")
    stage.until(lambda: stage.own.nodes.get(node.id).provision_state == "manageable")
    stage.own.provisioning.request(node.id, "provide")

    def there() -> bool:
        seen.add(stage.own.nodes.get(node.id).provision_state)
        return "available" in seen

    stage.until(there)
    assert "clean wait" not in seen


def test_there_is_no_inspection_before_the_first(stage: Stage) -> None:
    with pytest.raises(NotFound):
        stage.own.nodes.inspection(stage.add_node().id)


def test_what_is_not_there_is_not_found(stage: Stage) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"
    for act in (
        lambda: stage.own.nodes.get(nowhere),
        lambda: stage.own.nodes.get("no-such-node"),
        lambda: stage.own.nodes.get(""),
        lambda: stage.own.nodes.get(".."),
        lambda: stage.own.nodes.update(nowhere, {"/extra/x": 1}),
        lambda: stage.own.nodes.set_maintenance(nowhere, "x"),
        lambda: stage.own.provisioning.request(nowhere, "manage"),
    ):
        with pytest.raises(NotFound):
            act()
    stage.own.nodes.delete(nowhere)


def test_verbs_move_a_node_and_only_where_they_may(stage: Stage) -> None:
    assert isinstance(stage.own.provisioning, Provisioning)
    node = stage.add_node()
    with pytest.raises(Conflict):
        stage.own.provisioning.request(node.id, "provide")
    with pytest.raises(Conflict):
        stage.own.provisioning.request(node.id, "rebuild")
    stage.make_available(node)
    found = stage.own.nodes.get(node.id)
    assert found.target_provision_state is None
    assert found.provision_updated_at is not None
    with pytest.raises(Conflict):
        stage.own.provisioning.request(node.id, "inspect")
    stage.own.provisioning.request(node.id, "manage")
    stage.until(lambda: stage.own.nodes.get(node.id).provision_state == "manageable")
    with pytest.raises(Invalid):
        stage.own.provisioning.request(node.id, "clean")


def test_power_is_switched(stage: Stage) -> None:
    node = stage.add_node()
    stage.own.provisioning.request(node.id, "manage")
    stage.until(lambda: stage.own.nodes.get(node.id).provision_state == "manageable")
    stage.own.provisioning.power(node.id, "on")
    stage.until(lambda: stage.own.nodes.get(node.id).power_state == "on")
    stage.own.provisioning.power(node.id, "off")
    stage.until(lambda: stage.own.nodes.get(node.id).power_state == "off")


def test_a_protected_or_used_node_is_not_deleted(stage: Stage) -> None:
    node = stage.add_node()
    stage.make_available(node)
    instance = "11111111-2222-4333-8444-555555555555"
    stage.own.nodes.update(node.id, {"/instance_uuid": instance})
    with pytest.raises(Conflict):
        stage.own.nodes.delete(node.id)
    assert stage.own.nodes.get(node.id).instance_id == instance
    stage.own.nodes.update(node.id, {"/instance_uuid": None})
    stage.own.nodes.delete(node.id)
    stage.own.nodes.delete(node.id)
    with pytest.raises(NotFound):
        stage.own.nodes.get(node.id)


def add_port(stage: Stage, node_id: str, mac: str, **changes: object) -> NodePort:
    spec = {"node_id": node_id, "mac": mac, "pxe_enabled": True}
    port = stage.own.node_ports.create(NodePortSpec(**{**spec, **changes}))  # type: ignore[arg-type]
    stage.after.callback(stage.own.node_ports.delete, port.id)
    return port


def mac(stage: Stage) -> str:
    digits = stage.name("mac")[-6:]
    return f"02:c0:de:{digits[:2]}:{digits[2:4]}:{digits[4:]}"


def test_ports_keep_their_cables(stage: Stage) -> None:
    assert isinstance(stage.own.node_ports, NodePorts)
    node = stage.add_node()
    port = add_port(stage, node.id, mac(stage).upper(), link=LINK, physical_network="physnet1")
    assert port.node_id == node.id
    assert port.mac == port.mac.lower()
    assert (port.link, port.physical_network, port.pxe_enabled) == (LINK, "physnet1", True)
    assert port in stage.own.node_ports.all()
    moved = SwitchLink("02:00:5e:00:53:bb", "Ethernet1")
    changed = stage.own.node_ports.update(port.id, {"/local_link_connection": moved, "/pxe_enabled": False})
    assert (changed.link, changed.pxe_enabled) == (moved, False)
    bare = stage.own.node_ports.update(port.id, {"/local_link_connection": None, "/physical_network": None})
    assert (bare.link, bare.physical_network) == (None, None)


def test_a_mac_is_taken_once(stage: Stage) -> None:
    node = stage.add_node()
    port = add_port(stage, node.id, mac(stage))
    with pytest.raises(Duplicate):
        add_port(stage, node.id, port.mac)


def test_a_port_needs_a_node(stage: Stage) -> None:
    with pytest.raises(Invalid):
        add_port(stage, "00000000-0000-4000-8000-000000000000", mac(stage))


def test_ports_go_with_their_node(stage: Stage) -> None:
    node = stage.add_node()
    port = add_port(stage, node.id, mac(stage))
    stage.own.nodes.delete(node.id)
    assert port.id not in {found.id for found in stage.own.node_ports.all()}
    stage.own.node_ports.delete(port.id)


def test_tenants_have_no_nodes(stage: Stage) -> None:
    node = stage.add_node()
    assert node.id not in {found.id for found in stage.tenant.nodes.all()}
    with pytest.raises((NotFound, Forbidden)):
        stage.tenant.nodes.get(node.id)
    with pytest.raises((NotFound, Forbidden)):
        stage.tenant.provisioning.request(node.id, "manage")
    with pytest.raises((NotFound, Forbidden)):
        stage.tenant.nodes.update(node.id, {"/extra/x": 1})
    assert stage.tenant.node_ports.all() == []
    assert stage.own.nodes.get(node.id).provision_state == "enroll"


def test_ironic_remembers_cleans(stage: Stage) -> None:
    node = stage.add_node()
    assert stage.own.provisioning.history(node.id) == []
    stage.make_available(node)
    history = stage.own.provisioning.history(node.id)
    assert [entry.kind for entry in history] == ["automated_cleaning_start", "automated_cleaning_end"]
    assert {(entry.source, entry.severity) for entry in history} == {("ironic", "INFO")}
    assert all(entry.at.tzinfo is not None and entry.detail for entry in history)
    with pytest.raises((NotFound, Forbidden)):
        stage.tenant.provisioning.history(node.id)
    with pytest.raises(NotFound):
        stage.own.provisioning.history("00000000-0000-4000-8000-000000000000")


def test_hardware_types_with_their_interfaces(stage: Stage) -> None:
    drivers = {driver.name: driver for driver in stage.own.provisioning.drivers()}
    assert "redfish" in drivers["redfish"].power_interfaces
    assert {"neutron", "noop"} <= drivers["redfish"].network_interfaces


def test_ports_of_one_node_only(stage: Stage) -> None:
    first, second = stage.add_node(), stage.add_node()
    for number, node in enumerate((first, second), start=1):
        mac = f"52:54:00:{secrets.token_hex(1)}:{secrets.token_hex(1)}:{number:02x}"
        port = stage.own.node_ports.create(NodePortSpec(node.id, mac, pxe_enabled=True))
        stage.after.callback(stage.own.node_ports.delete, port.id)
    ports = stage.own.node_ports.all(node_id=first.id)
    assert {port.node_id for port in ports} == {first.id}
    assert stage.own.node_ports.all(mac=ports[0].mac.upper()) == ports[:1]
    assert stage.own.node_ports.all(node_id=second.id, mac=ports[0].mac) == []
    assert {first.id, second.id} <= {port.node_id for port in stage.own.node_ports.all()}


def test_a_port_of_the_controllers_is_detached_from_a_node(stage: Stage) -> None:
    own = stage.own
    node = stage.add_node(network="neutron")
    nic = add_port(stage, node.id, mac(stage), link=LINK)
    assert nic.vif_id is None
    network = own.networks.create(stage.name("network"))
    stage.after.callback(own.networks.delete, network.id)
    spec = AttachmentSpec(stage.name("port"), network.id, "a node of nobody's", mac(stage), LINK, "compute:nova")
    port = own.attachments.create(spec)
    stage.after.callback(own.attachments.delete, port.id)
    stage.put_vif(node, port.id)
    assert [each.vif_id for each in own.node_ports.all() if each.id == nic.id] == [port.id]
    own.node_ports.detach(node.id, port.id)
    own.node_ports.detach(node.id, port.id)
    assert [each.vif_id for each in own.node_ports.all(node_id=node.id)] == [None]
    with pytest.raises(NotFound):
        own.node_ports.detach(stage.other_project_id, port.id)
    with pytest.raises((Forbidden, NotFound)):
        stage.tenant.node_ports.detach(node.id, port.id)


def test_a_port_that_is_gone_is_detached_from_a_node_that_is_offered(stage: Stage) -> None:
    own = stage.own
    node = stage.add_node(network="neutron")
    nic = add_port(stage, node.id, mac(stage), link=LINK)
    network = own.networks.create(stage.name("network"))
    stage.after.callback(own.networks.delete, network.id)
    spec = AttachmentSpec(stage.name("port"), network.id, "a node of nobody's", mac(stage), LINK, "compute:nova")
    port = own.attachments.create(spec)
    stage.put_vif(node, port.id)
    stage.make_available(node)
    own.attachments.delete(port.id)
    assert [each.vif_id for each in own.node_ports.all(node_id=node.id)] == [port.id], "Ironic is told nothing"
    own.node_ports.detach(node.id, port.id)
    assert [(each.id, each.vif_id) for each in own.node_ports.all(node_id=node.id)] == [(nic.id, None)]
