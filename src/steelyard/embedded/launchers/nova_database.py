"""Nova's three databases and two cells from nothing: `nova_database.py nova.conf CELL0 CELL1 TRANSPORT`.

api_db sync, map_cell0, db sync (cell0 and cell1) and create_cell in one process instead of four. The cells are mapped
by templates (`{scheme}://{username}:...`) that Nova fills in from its configuration, so no password of a database or a
broker ends up in the API database. CELL0 and CELL1 are such templates of database addresses, TRANSPORT one of a broker.
"""

import os
import sys

import serving

serving.quick_imports()

from nova import monkey_patch  # noqa: E402

monkey_patch.patch(backend="threading")


def main() -> None:
    configuration, cell0, cell1, transport = sys.argv[1:5]
    sys.argv = ["nova-manage", "--config-file", configuration]
    import sqlite_tuning  # noqa: F401
    from nova import config, context, objects
    from nova.cmd import manage  # noqa: F401  (registers the commands' options)
    from nova.db import migration

    config.parse_args(sys.argv)
    objects.register_all()
    migration.db_sync(None, database="api")

    admin = context.get_admin_context()
    mapped = {mapping.name: mapping for mapping in objects.CellMappingList.get_all(admin)}
    if "cell0" not in mapped:
        mapped["cell0"] = objects.CellMapping(
            admin, uuid=objects.CellMapping.CELL0_UUID, name="cell0", transport_url="none:///",
            database_connection=cell0,
        )  # fmt: skip
        mapped["cell0"].create()
    migration.db_sync(None)
    with context.target_cell(admin, mapped["cell0"]) as in_cell0:
        migration.db_sync(None, context=in_cell0)
    if "cell1" not in mapped:
        from oslo_utils import uuidutils

        objects.CellMapping(
            admin, uuid=uuidutils.generate_uuid(), name="cell1", transport_url=transport, database_connection=cell1
        ).create()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
