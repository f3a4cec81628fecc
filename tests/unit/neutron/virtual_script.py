"""Run by test_virtual under the OpenStack environment's Python: the mechanism driver as Neutron loads it.

Takes the hosts and a list of ports to bind as JSON; prints how each was bound, or null.
"""

import json
import sys
from importlib.metadata import entry_points

from neutron_lib.plugins.ml2 import api
from oslo_config import cfg


class Context:
    """What ML2 gives a driver to bind a port with (neutron_lib.plugins.ml2.api.PortContext)."""

    def __init__(self, host, vnic_type, segments):
        self.host = host
        self.current = {"binding:vnic_type": vnic_type}
        self.segments_to_bind = segments
        self.bound = None

    def set_binding(self, segment_id, vif_type, vif_details, status=None):
        assert self.bound is None, "bound twice"
        self.bound = [segment_id, vif_type, vif_details, status]


hosts, ports = json.loads(sys.argv[1])
(entry,) = entry_points(group="neutron.ml2.mechanism_drivers", name="steelyard_virtual")
driver = entry.load()()
assert isinstance(driver, api.MechanismDriver)
cfg.CONF([], project="neutron", default_config_files=[])
driver.initialize()
cfg.CONF.set_override("hosts", hosts, "steelyard_virtual")
driver.initialize()
answers = []
for port in ports:
    context = Context(**port)
    driver.bind_port(context)
    answers.append(context.bound)
print(json.dumps(answers))
