"""The database of Placement, Glance or Ironic: `simple_databases.py SERVICE CONFIG_FILE`; again changes nothing."""

import os
import sys

import serving

serving.quick_imports()


def placement(configuration: str) -> None:
    from oslo_config import cfg
    from placement import conf, db_api
    from placement.db.sqlalchemy import migration

    options = cfg.ConfigOpts()
    conf.register_opts(options)
    options([], project="placement", default_config_files=[configuration])
    db_api.configure(options)
    migration.upgrade("head")


def glance(configuration: str) -> None:
    from glance.cmd import manage

    sys.argv = ["glance-manage", "--config-file", configuration, "db_sync"]
    manage.main()


def ironic(configuration: str) -> None:
    from ironic.common import service
    from ironic.conf import CONF
    from ironic.db import migration

    service.prepare_command(["ironic-dbsync", "--config-file", configuration])
    if CONF.database.connection.startswith("sqlite"):
        # The migrations need ALTER of constraints, which SQLite lacks; upstream's own way for an empty database.
        if migration.version() is None:
            migration.create_schema()
    else:
        migration.upgrade("head")


def main() -> None:
    import sqlite_tuning  # noqa: F401

    service, configuration = sys.argv[1:3]
    try:
        {"placement": placement, "glance": glance, "ironic": ironic}[service](configuration)
    except SystemExit as end:  # how glance-manage says that nothing was left to do
        if end.code not in (None, 0):
            raise
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
