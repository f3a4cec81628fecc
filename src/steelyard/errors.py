"""What can go wrong, said without knowing any transport.

* SteelyardError
  x Invalid            the request makes no sense as it stands; changing it helps
  x Unauthenticated    nobody, or a token that has expired
  x Forbidden          somebody, but not somebody who may do this
  x NotFound           no such thing, or not visible to the one who asks
  x Conflict           the request makes sense, but not now
    + Refused          a rule of the life cycle forbids it in the present phase
    + Duplicate        the name or address is taken
  x TooLarge           a body or file over its limit
  x Unavailable        a service or device that we stand on does not answer; trying later helps
    + DeadlineExceeded it answered, but did not reach the wanted state in time
  x UpstreamError      a service or device answered, with an error or with nonsense

`detail` is shown to whoever asked. `internal` goes to the log only. `next` is the next safe command to type.
None of the three may hold a secret.
"""

from __future__ import annotations

from typing import ClassVar


class SteelyardError(Exception):
    """Base of all errors that Steelyard raises on purpose.

    `code` is a stable, machine-readable word (`refused`, `node_deployed`, ...); it defaults to the kind's own.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, detail: str, *, code: str | None = None, next: str | None = None, internal: str | None = None):
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.kind
        self.next = next
        self.internal = internal


class Invalid(SteelyardError):
    kind = "invalid"


class Unauthenticated(SteelyardError):
    kind = "unauthenticated"


class Forbidden(SteelyardError):
    kind = "forbidden"


class NotFound(SteelyardError):
    kind = "not_found"


class Conflict(SteelyardError):
    kind = "conflict"


class Refused(Conflict):
    kind = "refused"


class Duplicate(Conflict):
    kind = "duplicate"


class TooLarge(SteelyardError):
    kind = "too_large"


class Unavailable(SteelyardError):
    kind = "unavailable"


class DeadlineExceeded(Unavailable):
    kind = "deadline_exceeded"


class UpstreamError(SteelyardError):
    kind = "upstream_error"
