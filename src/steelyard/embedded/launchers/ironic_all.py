"""Ironic's API and conductor in one process, without a forked worker: `ironic_all.py ironic.conf networks.conf`.

What `ironic` (ironic.command.singleprocess) does, with three differences:

* `hashlib.pbkdf2_hmac` is memoised. Ironic's redfish driver derives a key with 600,000 rounds of PBKDF2 on EVERY
  Redfish call, only to look up a cached session (ironic/drivers/modules/redfish/utils.py, SessionCache.__init__):
  over a second of CPU per call, 84 % of a deployment. The same inputs give the same key, so each pair of inputs is
  derived once in the life of the process. Salt and password stay in this process's memory, where they were anyway.
* The service runs in this process and not in a child of it: the parent would hold 100 MB for watching, and the
  supervisor watches already.
* Glance's SHA-512 of an image reaches the agent. Ironic asks openstacksdk's image for `os_hash_algo` and
  `os_hash_value` (ironic/common/glance_service/service_utils.py, _IMAGE_ATTRIBUTES), which are called `hash_algo` and
  `hash_value` there, so it hands on MD5 alone, and an agent rightly refuses to rely on that.

networks.conf (the ids of the provisioning, cleaning, inspection and rescue networks) is written once Neutron serves;
the imports, the slowest part, go on meanwhile.
"""

import functools
import hashlib
import operator
import os
import signal
import sys
import threading
import time

import serving

serving.quick_imports()

hashlib.pbkdf2_hmac = functools.lru_cache(maxsize=4096)(hashlib.pbkdf2_hmac)  # type: ignore[assignment]


def wait_for_file(path: str, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):  # noqa: PTH110
        if time.monotonic() > deadline:
            sys.exit(f"{path} was not written")
        time.sleep(0.1)


def name_image_hashes() -> None:
    """Let openstacksdk's image answer to the names by which Ironic asks for its hash."""
    from openstack.image.v2.image import Image

    for name in ("hash_algo", "hash_value"):
        if not hasattr(Image, f"os_{name}"):
            setattr(Image, f"os_{name}", property(operator.attrgetter(name)))


def main() -> None:
    configuration, networks = sys.argv[1:3]
    import sqlite_tuning  # noqa: F401

    # Not ironic.conductor.manager: its periodic tasks read their spacing when it is imported, so after parsing.
    from ironic.command import conductor
    from ironic.common import service
    from ironic.conductor import rpc_service
    from ironic.conf import CONF

    name_image_hashes()
    wait_for_file(networks)
    sys.argv = ["ironic", "--config-file", configuration, "--config-file", networks]
    service.prepare_service("ironic", sys.argv)
    manager = rpc_service.RPCService(CONF.host, "ironic.conductor.manager", "ConductorManager", embed_api=True)
    conductor.issue_startup_warnings(CONF)

    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: ending.set())
    manager.start()
    serving.imports_done()
    ending.wait()
    try:
        manager.stop()
    finally:
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
