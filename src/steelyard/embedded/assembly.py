"""From a prepared home to files on disk: the rack's plan, every configuration file, clouds.yaml."""

from __future__ import annotations

import uuid
from pathlib import Path

from steelyard.embedded.configuration import Description, generate
from steelyard.embedded.configuration.description import VIRTUAL_HOST
from steelyard.embedded.credentials import USERS
from steelyard.embedded.files import make_directory, readable_errors, write_atomically
from steelyard.embedded.home import Home
from steelyard.errors import Invalid

SCRATCH = (
    "run/neutron", "run/nova", "run/ironic", "run/ironic/tftp", "http/images",
    "run/glance", "run/glance/staging", "run/glance/tasks", "http/master_images", "secrets/keystone",
)  # fmt: skip


def describe(home: Home) -> Description:
    """The configuration's description of a home whose rack has been planned."""
    from steelyard.embedded.rack.neutron import ml2_sections
    from steelyard.embedded.rack.plan import Rack

    plan = home.path("rack", "rack.json")
    with readable_errors(plan):
        rack = Rack.from_json(plan.read_text(encoding="utf-8"))
    credentials = home.credentials
    return Description(
        root=home.root,
        openstack=home.openstack,
        ports=home.record.ports,
        nodes=home.record.nodes,
        passwords={user: credentials.get(f"{user}_password") for user in USERS},
        database="sqlite" if home.record.database == "sqlite" else credentials.get("database_url"),
        rpc="fake://" if home.record.rpc == "fake" else credentials.get("rpc_url"),
        network=home.record.network,
        filters=home.record.filters,
        switches=ml2_sections(rack, home.root, switch_port=home.port("rack_switch")),
    )


def write_files(home: Home) -> None:
    """Plan the rack (servers that are in it already keep identity and passwords) and write all configuration.

    Raises Unavailable when the disk refuses, Invalid when the rack's plan is damaged.
    """
    for directory in SCRATCH:
        make_directory(home.path(directory))
    _write_rack(home)
    for name, text in generate(describe(home)).items():
        path = home.path(name)
        make_directory(path.parent)
        write_atomically(path, text, durable=False)
    _write_boot_image(home.path("http", "ipa.iso"))
    _write_compute_id(home.path("run", "nova", "compute_id"), home.root)


def _write_rack(home: Home) -> None:
    from steelyard.embedded.rack.files import write_rack
    from steelyard.embedded.rack.plan import Rack, plan_rack

    path = home.path("rack", "rack.json")
    try:
        previous = Rack.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (Invalid, UnicodeDecodeError) as error:
        raise Invalid(
            f"{path} is damaged: {error}", code="rack_damaged", next="steelyard reset --all --yes, then: steelyard up"
        ) from error
    rack = plan_rack(
        home.record.nodes,
        network=home.record.rack_network,
        bmc_port=home.port("bmc"),
        seed=home.credentials.get("rack_seed"),
        nics=home.record.nics,
        previous=previous,
    )
    with readable_errors(path):
        write_rack(rack, home.root, switch_port=home.port("rack_switch"))


def _write_compute_id(path: Path, root: Path) -> None:
    """The identity of the compute host of virtual machines, where it has none: the same after a reset, as the databases
    of the template know the host by it, and Nova refuses to start under another one."""
    if not path.is_file():
        write_atomically(path, str(uuid.uuid5(uuid.NAMESPACE_URL, f"{root}/{VIRTUAL_HOST}")))


def _write_boot_image(path: Path) -> None:
    """What the BMCs fetch as the agent's boot medium: a name is all that the simulated servers look at."""
    if not path.is_file():
        write_atomically(path, "Steelyard: boot medium of the simulated agent\n")
