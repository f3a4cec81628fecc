"""Fetching an image from a URL.

Runbook. One step does it all, since the data on its way has no name on disk and so does not outlive the server: fetch
to the spool, verify checksum and format, store for the project that asked. When the server is killed, the step is done
again from its beginning; an image that was stored meanwhile is found by its property `steelyard_operation`, and one
that was left half stored is removed. The second step forgets the URL. A source that does not answer is tried a few
times; a source that answers something else ends the operation. Nothing else in the cloud is touched.
"""

from __future__ import annotations

from steelyard.errors import DeadlineExceeded, NotFound, Unavailable
from steelyard.images.fetch import TOTAL_SECONDS
from steelyard.images.service import FETCH, ImageService
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, Step, StepContext

ATTEMPTS = 5
AT_A_TIME = 4
"""Fetches in one server: each may fill the spool and take an hour, and the other operations need their turn."""


def kinds(service: ImageService) -> tuple[OperationKind, ...]:
    """The kinds of operation of this room."""

    def fetch_and_store(ctx: StepContext) -> Outcome:
        fetching = service.fetching(ctx.operation_id, ctx.actor, dict(ctx.params))
        try:
            image = service.fetch_and_store(fetching)
        except DeadlineExceeded:
            raise
        except NotFound as error:
            return Failed(f"The source's URL is gone: {error.detail}", code="source_forgotten", next="ask again")
        except Unavailable as error:
            if ctx.attempt >= ATTEMPTS:
                return Failed(error.detail, next=error.next or "try again later", code=error.code)
            return Retry(2.0**ctx.attempt, f"{error.detail} Attempt {ctx.attempt} of {ATTEMPTS}.")
        return Done({"image_id": image.id, "size_bytes": image.size_bytes})

    def forget(ctx: StepContext) -> Outcome:
        service.forget_source(ctx.params["secret_id"])
        return Done()

    def give_up(ctx: StepContext) -> Outcome:
        service.discard(ctx.operation_id)
        return forget(ctx)

    return (
        OperationKind(
            FETCH,
            steps=[
                Step(
                    "fetch, verify and store",
                    fetch_and_store,
                    deadline=TOTAL_SECONDS + 600,
                    next="download the file, then: steelyard image add NAME FILE",
                ),
                Step("forget the source", forget),
            ],
            on_failure=give_up,
            concurrency=AT_A_TIME,
        ),
    )
