"""Serve one upstream WSGI application: `wsgi.py SERVICE PORT THREADS`.

Keystone, Placement, Glance and Neutron ship an application and no server any more (their *-api scripts are gone or
refuse to serve). Which configuration is read comes from OS_<SERVICE>_CONFIG_DIR, set by the supervisor.
"""

import importlib
import sys

import serving

serving.quick_imports()

MODULES = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "neutron": "neutron.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
}


def main() -> None:
    service, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if service == "nova":  # must come before anything that could import eventlet
        from nova import monkey_patch

        monkey_patch.patch(backend="threading")
    import sqlite_tuning  # noqa: F401

    sys.argv = [service]  # the applications parse it
    application = importlib.import_module(MODULES[service]).application
    serving.serve(application, port, threads, service)


if __name__ == "__main__":
    main()
