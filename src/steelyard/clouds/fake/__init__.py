"""An in-memory cloud that behaves like the real one: the fake of every port in `clouds.ports`.

One `FakeWorld` holds everything; `FakeClouds` shows it through somebody's credentials, so a tenant sees what Keystone,
Nova, Neutron, Glance and Ironic would show a tenant.

    world = FakeWorld()
    node = world.add_node("bm-001", resource_class="bm.small", nics=2)  # available; or state="enroll", …
    clouds = FakeClouds(world)
    token = world.token(project="demo", roles={"member"})
    tenant = clouds.on_behalf_of(token)
    instance = tenant.compute.create(ServerSpec(...))
    world.settle()                    # lets Nova and Ironic finish; world.tick() moves one step
    assert tenant.compute.get(instance.id).status == "ACTIVE"
    assert world.vlan_of(node.id) == {tenant_vlan}

`FakeWorld(auto=True)` moves one step at every read, which is what code that polls needs. Failures:
`world.fail("nodes.get", Unavailable("…"))` for a call, `world.break_node(node_id, "clean", "disk 2 is unerasable")` for
a transition, `world.jam_switch_port(link)` for a switch that accepts a write and does not apply it. `world.calls`
counts calls by name.
"""

from __future__ import annotations

from steelyard.clouds.fake.clouds import FakeCloud, FakeClouds
from steelyard.clouds.fake.hardware import FakeHardware, FakeNic
from steelyard.clouds.fake.world import FakeWorld

__all__ = ["FakeCloud", "FakeClouds", "FakeHardware", "FakeNic", "FakeWorld"]
