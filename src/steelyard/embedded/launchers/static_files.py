"""Serve the files of one directory on loopback: `static_files.py DIRECTORY PORT`. No listing, no writing.

Ironic's conductor puts images and configuration drives there and hands the address to the agents. A link that leads out
of the directory is not followed.
"""

from __future__ import annotations

import functools
import http.server
import os
import sys
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    server_version = "static"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def list_directory(self, path: str | os.PathLike[str]) -> None:  # noqa: ARG002
        self.send_error(404)

    def translate_path(self, path: str) -> str:
        """The file meant; one that does not exist when a link leads out of the directory."""
        wanted = Path(super().translate_path(path))
        root = Path(self.directory)
        return str(wanted) if root in wanted.resolve().parents else str(root / "no such file")

    def log_message(self, format: str, *arguments: object) -> None:
        sys.stderr.write(f"{self.log_date_time_string()} {format % arguments}\n")


def main() -> None:
    directory, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    os.chdir(directory)
    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
