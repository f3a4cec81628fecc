"""Neutron's schema from its models, stamped as if it had been migrated: `neutron_database.py neutron.conf ml2.ini`.

Upstream's migrations run on MySQL alone (SQLite: no ALTER of constraints; PostgreSQL: CONVERT TO CHARACTER SET), so the
tables are created from the models, as Neutron's own unit tests do.
"""

import os
import sys

import serving

serving.quick_imports()


def main() -> None:
    files = [argument for one in sys.argv[1:] for argument in ("--config-file", one)]
    import sqlalchemy
    import sqlite_tuning  # noqa: F401
    from neutron.common import config
    from neutron.db.migration import cli
    from neutron.db.migration.models import head
    from oslo_config import cfg
    from oslo_db import options

    options.set_defaults(cfg.CONF)
    config.register_common_config_options()
    config.init(files)
    engine = sqlalchemy.create_engine(cfg.CONF.database.connection)
    with engine.begin() as connection:
        head.get_metadata().create_all(connection)
    engine.dispose()
    sys.argv = ["neutron-db-manage", *files, "stamp", "heads"]
    cli.CONF(project="neutron")
    for one in cli.get_alembic_configs():
        cli.CONF.command.func(one, cli.CONF.command.name)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
