"""The words that people read while they wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard.lifecycle.model import Power
from steelyard.lifecycle.progress import cleaning, deploying, fault, powering, releasing

from .test_model import instance, node


@pytest.mark.parametrize(
    ("task", "state", "step", "words"),
    [
        ("scheduling", None, None, "scheduling: a node is chosen"),
        (None, None, None, "scheduling: a node is chosen"),
        ("networking", "available", None, "networking: ports and addresses are made"),
        ("spawning", "available", None, "preparing the node"),
        ("spawning", "deploying", None, "preparing the deployment"),
        ("spawning", "wait call-back", None, "booting the agent (provisioning network)"),
        ("spawning", "wait call-back", "write_image", "writing the image (provisioning network)"),
        ("spawning", "deploying", "switch_to_tenant_network", "switching to the tenant network"),
        ("spawning", "deploying", "a_vendors_own", "preparing the deployment"),
        ("spawning", "active", "write_image", "booting"),
        ("spawning", "something new", None, "the deployment"),
    ],
)
def test_deploying(task: str | None, state: str | None, step: str | None, words: str) -> None:
    on = None if state is None else replace(node(state, instance_id="i1"), step=step)
    assert deploying(instance("BUILD", task, node_id=on.id if on else None), on) == words


def test_a_tenant_reads_no_name_of_a_node() -> None:
    on = replace(node("deploying", instance_id="i1"), step="deploy")
    said = [deploying(instance("BUILD", "spawning"), on), releasing(instance("ACTIVE", "deleting"), on)]
    assert not any(word in text for text in said for word in ("bm-1", on.id, on.bmc_address or "bmc"))


def test_powering() -> None:
    off = replace(instance("ACTIVE", "powering-off"), power_state="on")
    assert powering(off, Power.OFF) == "powering off: power is on, wanted off"
    assert powering(replace(off, task_state=None, power_state=None), Power.ON) == "power is not known, wanted on"


def test_releasing_never_speaks_of_cleaning_which_is_not_the_tenants_concern() -> None:
    gone = instance("ACTIVE", "deleting")
    on = node("active", instance_id="i1", power_state="on")
    assert releasing(gone, on) == "powering off"
    assert releasing(gone, replace(on, power_state="off")) == "releasing"
    assert releasing(gone, replace(on, provision_state="deleting")) == "taking it off the tenant network"
    for state in ("cleaning", "clean wait", "available"):
        assert releasing(gone, replace(on, provision_state=state)) == "releasing"
    assert releasing(gone, replace(on, instance_id="the next tenant's")) == "releasing"


def test_administrators_read_which_step_cleans() -> None:
    assert cleaning(replace(node("clean wait"), step="erase_devices")) == (
        "cleaning: node bm-1 is clean wait (erase_devices), wanted available"
    )


NODE = "e32ef57a-81bb-4017-82d3-fe7ebfc2e9bc"
MINE = "57b25274-44bd-4a3f-9181-cc34c96f2451"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            f"Build of instance {MINE} aborted: Unable to establish connection to http://127.0.0.1:24619/v1/nodes/{NODE}"
            "/validate: ('Connection aborted.')",
            f"Build of instance {MINE} aborted: Unable to establish connection to (an address) ('Connection aborted.')",
        ),
        (
            f"Failed to provision instance {MINE}: disk too small",
            f"Failed to provision instance {MINE}: disk too small",
        ),
        (f"Node {NODE.upper()} is locked", "Node (an id) is locked"),
        ("No valid host was found.", "No valid host was found."),
        (None, None),
    ],
)
def test_a_tenant_reads_why_and_of_no_node_and_no_service(said: str | None, told: str | None) -> None:
    assert fault(replace(instance("ERROR"), id=MINE, fault=said)) == told
