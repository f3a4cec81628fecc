"""The configuration generator: what every service is told, for each database and transport."""

from __future__ import annotations

import configparser
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.embedded.configuration import Description, generate, networks_file
from steelyard.embedded.configuration.ini import Reference, render
from steelyard.embedded.credentials import USERS
from steelyard.embedded.home import PORT_NAMES
from steelyard.embedded.networks import VLANS
from steelyard.errors import Invalid

PORTS = {name: 20000 + number for number, name in enumerate(PORT_NAMES)}
PASSWORDS = {user: f"secret-of-{user}" for user in USERS}


@pytest.fixture
def cloud() -> Description:
    return Description(
        root=Path("/srv/of/steelyard"),
        openstack=Path("/opt/openstack"),
        ports=PORTS,
        nodes=8,
        passwords=PASSWORDS,
        switches={"genericswitch:leaf1": {"device_type": "steelyard_simulated"}},
    )


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def ini_files(files: dict[str, str]) -> dict[str, configparser.ConfigParser]:
    return {name: parsed(text) for name, text in files.items() if name.endswith((".conf", ".ini"))}


def test_the_same_description_gives_the_same_bytes(cloud: Description) -> None:
    assert generate(cloud) == generate(replace(cloud))


def test_every_service_has_its_files(cloud: Description) -> None:
    services = {name.split("/")[1] for name in generate(cloud) if name.startswith("etc/")}
    assert services == {"keystone", "placement", "glance", "neutron", "nova", "ironic"}


def test_a_contrail_controller_is_in_the_catalogue_where_there_is_one(cloud: Description) -> None:
    def catalogue(of: Description) -> dict[str, str]:
        services = json.loads(generate(of)["etc/keystone/identity_seed.json"])["services"]
        return {service["type"]: service["url"] for service in services}

    assert "sdn-l-config" not in catalogue(cloud)
    with_controller = replace(cloud, network="contrail", ports={**PORTS, "contrail": 20999})
    assert catalogue(with_controller) == {**catalogue(cloud), "sdn-l-config": "http://127.0.0.1:20999"}


def test_nothing_listens_or_looks_beyond_loopback(cloud: Description) -> None:
    for name, text in generate(cloud).items():
        addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text))
        assert addresses <= {"127.0.0.1"}, name
        assert "localhost" not in text, name


def test_each_service_knows_the_passwords_it_needs_and_no_more(cloud: Description) -> None:
    files = generate(cloud)
    allowed = {
        "etc/keystone/keystone.conf": set(),
        "etc/placement/placement.conf": {"placement"},
        "etc/glance/glance-api.conf": {"glance"},
        "etc/neutron/neutron.conf": {"neutron", "nova", "placement", "ironic"},
        "etc/neutron/ml2_conf.ini": set(),
        "etc/neutron/policy.yaml": set(),
        "etc/nova/nova.conf": {"nova", "placement", "neutron", "ironic"},
        "etc/ironic/ironic.conf": {"ironic"},
        "etc/keystone/identity_seed.json": set(USERS),
        "clouds.yaml": {"admin", "demo", "steelyard"},
    }
    assert files.keys() == allowed.keys()
    for name, text in files.items():
        assert {user for user in USERS if PASSWORDS[user] in text} == allowed[name], name


def test_passwords_do_not_show_in_the_description(cloud: Description) -> None:
    shown = repr(replace(cloud, database="postgresql://me:hidden@127.0.0.1/", rpc="rabbit://me:hidden@127.0.0.1/"))
    assert "hidden" not in shown
    assert not any(password in shown for password in PASSWORDS.values())


def test_sqlite_is_the_default_and_lies_in_the_home(cloud: Description) -> None:
    connections = {
        name: [section["connection"] for section in parser.values() if "connection" in section]
        for name, parser in ini_files(generate(cloud)).items()
    }
    assert connections["etc/ironic/ironic.conf"] == ["sqlite:////srv/of/steelyard/db/ironic.sqlite"]
    assert connections["etc/nova/nova.conf"] == [
        "sqlite:////srv/of/steelyard/db/nova_api.sqlite",
        "sqlite:////srv/of/steelyard/db/nova_cell1.sqlite",
    ]


def test_postgresql_is_another_address_and_nothing_else(cloud: Description) -> None:
    url = "postgresql://steel:s%40lt@127.0.0.1:5433/"
    with_sqlite, with_postgresql = generate(cloud), generate(replace(cloud, database=url))
    for name, text in with_postgresql.items():
        different = set(text.splitlines()) ^ set(with_sqlite[name].splitlines())
        assert all(line.startswith("connection = ") for line in different), name
    ironic = parsed(with_postgresql["etc/ironic/ironic.conf"])
    assert ironic["database"]["connection"] == "postgresql+psycopg2://steel:s%40lt@127.0.0.1:5433/ironic"


def test_rabbitmq_is_another_transport_and_nothing_else(cloud: Description) -> None:
    in_memory, with_broker = generate(cloud), generate(replace(cloud, rpc="rabbit://steel:salt@127.0.0.1:5672/yard"))
    changed = {name for name in in_memory if in_memory[name] != with_broker[name]}
    assert changed == {"etc/nova/nova.conf", "etc/neutron/neutron.conf"}
    for name in changed:
        different = set(with_broker[name].splitlines()) - set(in_memory[name].splitlines())
        assert different == {"transport_url = rabbit://steel:salt@127.0.0.1:5672/yard"}


@pytest.mark.parametrize(
    ("database", "template"),
    [
        ("postgresql://steel:salt@127.0.0.1:5433/", "{scheme}://{username}:{password}@{hostname}:{port}/nova_cell1"),
        ("postgresql://steel@127.0.0.1/", "{scheme}://{username}@{hostname}/nova_cell1"),
        ("sqlite", "sqlite:////srv/of/steelyard/db/nova_cell1.sqlite"),
    ],
)
def test_the_cells_are_mapped_without_a_password(cloud: Description, database: str, template: str) -> None:
    assert replace(cloud, database=database).cell_connection("nova_cell1") == template


def test_the_cells_find_the_broker_without_a_password(cloud: Description) -> None:
    assert cloud.cell_transport == "fake://"
    with_broker = replace(cloud, rpc="rabbit://steel:salt@127.0.0.1:5672/yard")
    assert with_broker.cell_transport == "{scheme}://{username}:{password}@{hostname}:{port}/{path}"


def test_intervals_grow_with_the_rack(cloud: Description) -> None:
    def interval(nodes: int) -> int:
        ironic = parsed(generate(replace(cloud, nodes=nodes))["etc/ironic/ironic.conf"])
        return int(ironic["conductor"]["sync_power_state_interval"])

    assert interval(8) == 30
    assert interval(1000) > interval(300) > 30


def test_clouds_yaml_has_an_administrator_a_system_and_a_tenant(cloud: Description) -> None:
    clouds = json.loads(generate(cloud)["clouds.yaml"])["clouds"]
    assert clouds.keys() == {"admin", "system", "demo", "steelyard", "steelyard-system"}
    assert clouds["system"]["auth"]["system_scope"] == "all"
    assert "project_name" not in clouds["system"]["auth"]
    assert clouds["demo"]["auth"]["project_name"] == "demo"
    assert {entry["auth"]["auth_url"] for entry in clouds.values()} == {f"http://127.0.0.1:{PORTS['keystone']}/v3"}


def test_the_demo_user_is_a_member_and_nothing_more(cloud: Description) -> None:
    seed = json.loads(generate(cloud)["etc/keystone/identity_seed.json"])
    demo = next(user for user in seed["users"] if user["name"] == "demo")
    assert (demo["project"], demo["roles"]) == ("demo", ["member"])
    assert "demo" not in seed["system_administrators"]


def test_the_catalogue_has_steelyard(cloud: Description) -> None:
    seed = json.loads(generate(cloud)["etc/keystone/identity_seed.json"])
    urls = {service["type"]: service["url"] for service in seed["services"]}
    assert urls["baremetal-management"] == f"http://127.0.0.1:{PORTS['steelyard']}"


def test_ironic_knows_its_networks_by_id(cloud: Description) -> None:
    """By name, a tenant's network called `cleaning` would stop every cleaning."""
    ids = {role: f"id-of-{role}" for role in ("provisioning", "cleaning", "inspection", "rescue", "quarantine")}
    section = parsed(networks_file(ids))["neutron"]
    assert dict(section) == {
        "provisioning_network": "id-of-provisioning",
        "cleaning_network": "id-of-cleaning",
        "inspection_network": "id-of-inspection",
        "rescuing_network": "id-of-rescue",
    }
    assert "cleaning_network" not in generate(cloud)["etc/ironic/ironic.conf"]


def test_the_switches_are_those_of_the_rack(cloud: Description) -> None:
    ml2 = parsed(generate(cloud)["etc/neutron/ml2_conf.ini"])
    assert ml2["genericswitch:leaf1"]["device_type"] == "steelyard_simulated"


def test_values_cannot_start_another_option() -> None:
    with pytest.raises(Invalid):
        render({"DEFAULT": {"password": "x\nauth_strategy = noauth"}})


def test_dollars_are_taken_literally_unless_meant_as_a_reference() -> None:
    text = render({"DEFAULT": {"password": "a$b", "hooks": Reference("$default_hooks,more"), "on": True}})
    assert text == "[DEFAULT]\npassword = a$$b\nhooks = $default_hooks,more\non = true\n"


def test_no_tenant_is_given_the_vlan_of_an_operators_network(cloud: Description) -> None:
    """Neutron hands out every VLAN of these ranges to tenants, in no order."""
    ranges = parsed(generate(cloud)["etc/neutron/ml2_conf.ini"])["ml2_type_vlan"]["network_vlan_ranges"].split(",")
    offered = {vlan for each in ranges for vlan in range(int(each.split(":")[1]), int(each.split(":")[2]) + 1)}
    assert len(offered) > 500
    assert offered.isdisjoint(VLANS.values())


def test_with_a_controller_neutron_asks_it_for_everything_and_configures_no_switch(cloud: Description) -> None:
    files = generate(replace(cloud, network="contrail", ports={**PORTS, "contrail": 20100}))
    neutron, ml2 = parsed(files["etc/neutron/neutron.conf"]), parsed(files["etc/neutron/ml2_conf.ini"])
    assert neutron["DEFAULT"]["ipam_driver"] == "steelyard_contrail"
    assert ml2["ml2"]["mechanism_drivers"] == "steelyard_contrail,steelyard_virtual"
    assert neutron["contrail"]["endpoint_override"] == "http://127.0.0.1:20100"
    assert neutron["contrail"]["username"] == "neutron"
    assert not [name for name in ml2.sections() if name.startswith("genericswitch")]
    alone = parsed(generate(cloud)["etc/neutron/neutron.conf"])
    assert "contrail" not in alone
    assert "ipam_driver" not in alone["DEFAULT"]
    assert neutron["DEFAULT"]["service_plugins"] == "segments,trunk"
    assert alone["DEFAULT"]["service_plugins"] == "segments,trunk,steelyard_groups"
    unfiltered = parsed(generate(replace(cloud, filters=False))["etc/neutron/neutron.conf"])
    assert unfiltered["DEFAULT"]["service_plugins"] == "segments,trunk"
