"""How the tests' Neutron processes begin; under the OpenStack environment's Python."""

import pathlib
import sys

from neutron.common import config


def boot(directory: pathlib.Path) -> None:
    """Take the configuration of DIRECTORY/neutron.conf, and make the tables in DIRECTORY/neutron.sqlite that are not
    there."""
    config.register_common_config_options()
    config.init(["--config-file", str(directory / "neutron.conf")])
    config.setup_logging()
    config.set_config_defaults()

    # As in the embedded cloud: a transaction takes the lock at its beginning.
    sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "src/steelyard/embedded/launchers"))

    import sqlalchemy
    import sqlite_tuning  # noqa: F401

    from neutron.db.migration.models import head

    engine = sqlalchemy.create_engine(f"sqlite:///{directory}/neutron.sqlite")
    with engine.begin() as connection:
        head.get_metadata().create_all(connection)
    engine.dispose()
