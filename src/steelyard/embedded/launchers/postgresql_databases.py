"""Create the databases of a home, or drop them: `postgresql_databases.py create|drop HOME_ID URL_FILE NAME...`.

A database carries the home's id as its comment. One of the same name that carries none, or another home's, is somebody
else's: it is never used and never dropped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import sql

COMMENTS = "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database"


def main() -> None:
    verb, home, url_file, *names = sys.argv[1:]
    mark = f"steelyard {home}"
    connection = psycopg2.connect(Path(url_file).read_text().strip().rstrip("/") + "/postgres")
    connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
    cursor = connection.cursor()
    cursor.execute(COMMENTS)
    present = dict(cursor.fetchall())
    for name in names:
        identifier = sql.Identifier(name)
        if verb == "drop" and present.get(name) == mark:
            cursor.execute(sql.SQL("DROP DATABASE {}").format(identifier))
        elif verb == "create" and name not in present:
            cursor.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(identifier))
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, sql.Literal(mark)))
        elif verb == "create" and present[name] != mark:
            sys.exit(f"the PostgreSQL server has a database {name} that is not this home's; use another server")
    connection.close()


if __name__ == "__main__":
    main()
