"""Who may talk to a BMC: one account each, HTTP Basic or a Redfish session (DSP0266 13.3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from steelyard.embedded.rack.plan import Rack, Server
from steelyard.embedded.rack.records import Records

SESSION_SECONDS = 1800.0
MAX_SESSIONS = 32
"""Per BMC; the one that was idle longest makes room for a new one."""


@dataclass(frozen=True, slots=True)
class _Session:
    token: bytes
    user: str
    used: float


class Accounts:
    """Passwords (changed ones are kept over a restart, as salted digests) and sessions (which are not kept)."""

    def __init__(self, rack: Rack, records: Records):
        self._records = records
        self._salt = secrets.token_bytes(16)
        self._digests = {server.name: self._digest(server.bmc_password, self._salt) for server in rack.servers}
        self._salts: dict[str, bytes] = {}
        self._sessions: dict[str, dict[str, _Session]] = {}
        for key, value in records.all():
            kind, _, name = key.partition(":")
            if kind == "account" and name in self._digests:
                self._salts[name] = bytes.fromhex(value["salt"])
                self._digests[name] = bytes.fromhex(value["digest"])

    def knows(self, server: Server, username: str, password: str) -> bool:
        """In constant time, whichever of the two is wrong."""
        salt = self._salts.get(server.name, self._salt)
        right_user = hmac.compare_digest(username.encode(), server.bmc_username.encode())
        right_password = hmac.compare_digest(self._digest(password, salt), self._digests[server.name])
        return right_user and right_password

    def set_password(self, server: Server, password: str) -> None:
        """Ends every session of that BMC."""
        salt = secrets.token_bytes(16)
        digest = self._digest(password, salt)
        self._records.put(f"account:{server.name}", {"salt": salt.hex(), "digest": digest.hex()})
        self._salts[server.name], self._digests[server.name] = salt, digest
        self._sessions.pop(server.name, None)

    def open_session(self, server: Server) -> tuple[str, str]:
        """Session id and token."""
        sessions = self._live(server)
        if len(sessions) >= MAX_SESSIONS:
            del sessions[min(sessions, key=lambda id_: sessions[id_].used)]
        session_id, token = secrets.token_hex(8), secrets.token_urlsafe(32)
        sessions[session_id] = _Session(token.encode(), server.bmc_username, time.monotonic())
        return session_id, token

    def close_session(self, server: Server, session_id: str) -> bool:
        return self._live(server).pop(session_id, None) is not None

    def sessions(self, server: Server) -> Mapping[str, str]:
        """Session id -> user name."""
        return {session_id: session.user for session_id, session in self._live(server).items()}

    def allows(self, server: Server, headers: Mapping[str, str]) -> bool:
        """Whether a request's headers prove who it is from."""
        if (token := headers.get("X-Auth-Token")) is not None:
            given = token.encode("utf-8", "surrogateescape")
            for session_id, session in self._live(server).items():
                if hmac.compare_digest(session.token, given):
                    self._sessions[server.name][session_id] = replace(session, used=time.monotonic())
                    return True
            return False
        scheme, _, encoded = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return bool(colon) and self.knows(server, username, password)

    def _live(self, server: Server) -> dict[str, _Session]:
        oldest = time.monotonic() - SESSION_SECONDS
        kept = self._sessions.setdefault(server.name, {})
        for session_id in [session_id for session_id, session in kept.items() if session.used < oldest]:
            del kept[session_id]
        return kept

    @staticmethod
    def _digest(password: str, salt: bytes) -> bytes:
        # Not a slow hash: the passwords are random, and Ironic authenticates with nearly every request.
        return hashlib.sha256(salt + password.encode("utf-8", "surrogateescape")).digest()
