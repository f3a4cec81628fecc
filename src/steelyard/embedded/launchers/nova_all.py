"""Nova's API, conductor, scheduler and computes in one process: `nova_all.py nova.conf VIRTUAL PORT KEYSTONE …`.

VIRTUAL is the name of a second compute host, of virtual machines, with Nova's fake hypervisor; the last are the ports
of what Nova needs: Keystone, Placement, Ironic.

Only upstream classes, started as their own commands start them. With transport_url fake:// the four talk in memory;
with rabbit:// the same process uses the broker. `indirection_api` and DISABLE_DB_ACCESS, which nova-compute's own
command sets for the whole process, stay unset: compute then reads the database itself, as in Nova's functional tests.
"""

from __future__ import annotations

import shlex
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

import serving

serving.quick_imports()

from nova import monkey_patch  # noqa: E402

monkey_patch.patch(backend="threading")


def wait_for(ports: Iterable[int], seconds: float = 180.0) -> None:
    """Until something listens on each port: compute talks to the other services as soon as it starts."""
    deadline = time.monotonic() + seconds
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit(f"nothing listens on 127.0.0.1:{port}")
                time.sleep(0.1)


def start_services(virtual_host: str) -> None:
    """Conductor, scheduler and computes, in the order in which they need each other."""
    from nova import service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.scheduler import rpcapi as scheduler

    for arguments in (
        {"binary": "nova-conductor", "topic": conductor.RPC_TOPIC},
        {"binary": "nova-scheduler", "topic": scheduler.RPC_TOPIC},
        {"binary": "nova-compute", "topic": compute.RPC_TOPIC, "topic_alt": compute.RPC_TOPIC_ALT},
    ):
        one = service.Service.create(**arguments)
        one.start()
    virtual = _virtual_compute(virtual_host)
    virtual.start()


def _virtual_compute(host: str) -> Any:
    """The compute of virtual machines. Its driver is loaded here; whoever reads `compute_driver` later (that a node's
    identity is kept in a file or not) is told Ironic's, and the driver keeps its identity itself."""
    import nova.conf
    from nova import service
    from nova.compute import rpcapi as compute

    nova.conf.CONF.set_override("compute_driver", "fake.FakeDriverWithoutFakeNodes")
    try:
        return service.Service.create(
            host=host, binary="nova-compute", topic=compute.RPC_TOPIC, topic_alt=compute.RPC_TOPIC_ALT
        )
    finally:
        nova.conf.CONF.clear_override("compute_driver")


def map_compute_host() -> None:
    """Map the compute hosts into their cell now, instead of at the scheduler's next periodic look.

    By their services: there is no compute node yet, as a rack begins without one, and the first server would be
    refused.
    """
    from nova import context
    from nova.objects import host_mapping

    host_mapping.discover_hosts(context.get_admin_context(), by_service=True)


def main() -> None:
    configuration, virtual_host, port, *needed = sys.argv[1:]
    sys.argv = ["nova-all", "--config-file", configuration]
    import nova.conf
    import os_vif
    import sqlite_tuning  # noqa: F401

    # The API application first: importing it reads the configuration and sets up logging, RPC and databases.
    from nova.wsgi import osapi_compute  # isort: skip
    from nova import utils
    from oslo_log import log
    from oslo_privsep import priv_context
    from oslo_service import opts

    opts.register_service_opts(nova.conf.CONF)
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_vif.initialize()
    wait_for([int(one) for one in needed])
    start_services(virtual_host)
    map_compute_host()
    log.getLogger("nova.all").info("conductor, scheduler and compute started")
    serving.serve(osapi_compute.application, int(port), 12, "nova")


if __name__ == "__main__":
    main()
