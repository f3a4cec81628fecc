"""What a client can meet.

* ClientError              has `exit_code`, `detail`, `next`
  x ApiError               the server answered with a problem
  x NotConfigured          no cloud, no credentials, no endpoint
  x NotAuthenticated       Keystone refused the credentials
  x ServerUnreachable      nobody answers at the address
  x OperationFailed        the operation that was waited for failed or was cancelled
  x WaitTimeout            it did not end in the time given

Exit codes: 0 done, 1 failed operation or other failure, 2 usage, 3 not authenticated or forbidden, 4 not found,
5 refused or in conflict, 6 unavailable, 7 a check found something, 130 interrupted.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_FORBIDDEN = 3
EXIT_NOT_FOUND = 4
EXIT_REFUSED = 5
EXIT_UNAVAILABLE = 6
EXIT_FOUND = 7
"""Of a check that found something, and of nothing else."""
EXIT_INTERRUPTED = 130

_BY_STATUS = {
    400: EXIT_USAGE,
    401: EXIT_FORBIDDEN,
    403: EXIT_FORBIDDEN,
    404: EXIT_NOT_FOUND,
    409: EXIT_REFUSED,
    413: EXIT_USAGE,
    422: EXIT_USAGE,
    429: EXIT_UNAVAILABLE,
    502: EXIT_UNAVAILABLE,
    503: EXIT_UNAVAILABLE,
    504: EXIT_UNAVAILABLE,
}


class ClientError(Exception):
    """Base. `detail` is one line for people; `next` the next safe command."""

    default_exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, detail: str, *, next: str | None = None, request_id: str | None = None):
        super().__init__(detail)
        self.detail = detail
        self.next = next
        self.request_id = request_id

    @property
    def exit_code(self) -> int:
        return self.default_exit_code


class ApiError(ClientError):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str, *, next: str | None = None, request_id: str | None = None):
        super().__init__(detail, next=next, request_id=request_id)
        self.status = status
        self.code = code

    @property
    def exit_code(self) -> int:
        return _BY_STATUS.get(self.status, EXIT_FAILED)


class NotConfigured(ClientError):
    default_exit_code = EXIT_USAGE


class NotAuthenticated(ClientError):
    default_exit_code = EXIT_FORBIDDEN


class ServerUnreachable(ClientError):
    default_exit_code = EXIT_UNAVAILABLE


class OperationFailed(ClientError):
    default_exit_code = EXIT_FAILED


class WaitTimeout(ClientError):
    default_exit_code = EXIT_UNAVAILABLE


class UsageError(ClientError):
    """A value on the command line makes no sense."""

    default_exit_code = EXIT_USAGE
