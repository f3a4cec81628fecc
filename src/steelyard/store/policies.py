"""Policies that an administrator has set for projects; a project without one has the defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from steelyard.isolation.model import PowerOffPolicy
from steelyard.store.database import Database
from steelyard.store.tables import policies as table

DEFAULT = PowerOffPolicy.QUARANTINE


@dataclass(frozen=True, slots=True)
class ProjectPolicy:
    """What was set for one project, by whom, when and why. The time is UTC."""

    project_id: str
    power_off: PowerOffPolicy
    actor: str
    reason: str | None
    changed_at: datetime


class Policies:
    """The repository of policies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def power_off(self, project_id: str | None) -> PowerOffPolicy:
        """Where the NICs of the project's servers go while they are off. A server of no known project: the default."""
        return self.power_offs([project_id] if project_id else []).get(project_id or "", DEFAULT)

    def power_offs(self, project_ids: Iterable[str] | None = None) -> dict[str, PowerOffPolicy]:
        """By project, for those that have a policy of their own; of all projects unless some are named."""
        query = sa.select(table.c.project_id, table.c.power_off)
        if project_ids is not None:
            query = query.where(table.c.project_id.in_(list(project_ids)))
        with self._database.read() as connection:
            return {row.project_id: PowerOffPolicy(row.power_off) for row in connection.execute(query)}

    def get(self, project_id: str) -> ProjectPolicy | None:
        """What was set for a project; None: nothing."""
        query = sa.select(table).where(table.c.project_id == project_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _policy(row)

    def all(self) -> list[ProjectPolicy]:
        """Those that were set."""
        with self._database.read() as connection:
            return [_policy(row) for row in connection.execute(sa.select(table).order_by(table.c.project_id))]

    def set(self, project_id: str, power_off: PowerOffPolicy, *, actor: str, reason: str | None = None) -> bool:
        """Set it; returns whether that changed anything."""
        known = self.get(project_id)
        if known is not None and known.power_off is power_off:
            return False
        values = {"power_off": power_off.value, "actor": actor, "reason": reason, "changed_at": datetime.now(UTC)}
        with self._database.write() as connection:
            changed = connection.execute(table.update().where(table.c.project_id == project_id).values(**values))
            if not changed.rowcount:
                connection.execute(table.insert().values(project_id=project_id, **values))
        return True


def _policy(row: sa.Row[tuple[object, ...]]) -> ProjectPolicy:
    values = dict(row._mapping)
    return ProjectPolicy(**{**values, "power_off": PowerOffPolicy(values["power_off"])})
