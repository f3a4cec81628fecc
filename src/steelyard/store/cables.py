"""Cables: the switch port at the other end of each NIC's cable, as LLDP last told.

What was learned here outlives candidates and nodes. Once a switch port was managed it carries no VLAN while it is
idle, so a server that comes back can only be booted by way of the port that it is known to be on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from steelyard.nouns import SwitchLink
from steelyard.store.database import Database
from steelyard.store.tables import cables as table

_AT_A_TIME = 500
"""MACs in one query: SQLite takes a limited number of parameters."""


class Cables:
    """The repository of cables. A NIC has one, and a switch port has one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def learn(self, links: Mapping[str, SwitchLink]) -> None:
        """Keep what LLDP told, by MAC. Another NIC that was on one of these switch ports is there no more."""
        now = datetime.now(UTC)
        with self._database.write() as connection:
            for mac, link in links.items():
                same_port = sa.and_(table.c.switch_id == link.switch_id, table.c.port_id == link.port_id)
                connection.execute(table.delete().where(sa.or_(table.c.mac == mac.lower(), same_port)))
                connection.execute(
                    table.insert().values(
                        mac=mac.lower(),
                        switch_id=link.switch_id,
                        port_id=link.port_id,
                        switch_name=link.switch_name,
                        learned_at=now,
                    )
                )

    def of(self, macs: Iterable[str]) -> dict[str, SwitchLink]:
        """The known switch ports of these NICs, by MAC; what is not known is left out."""
        wanted = sorted({mac.lower() for mac in macs})
        found: dict[str, SwitchLink] = {}
        with self._database.read() as connection:
            for start in range(0, len(wanted), _AT_A_TIME):
                part = wanted[start : start + _AT_A_TIME]
                for row in connection.execute(sa.select(table).where(table.c.mac.in_(part))):
                    found[row.mac] = SwitchLink(row.switch_id, row.port_id, row.switch_name)
        return found
