"""Durable work of discovery.

Runbook of a sweep: ask the addresses in parts, record every BMC that accepts one of the credentials as a candidate as
soon as its part is done; then forget the credentials that were given (each candidate keeps the one that opened it).
A sweep changes nothing on any BMC. Interrupted, it starts again from the first address.

Runbook of onboarding, for one candidate:
 1. enroll: a node in Ironic, with name, resource class and a port per NIC; refused if the server is a node already.
    A server whose switch ports nobody knows (`store.cables`) gets the network interface `noop`.
 2. verify: Ironic's `manage`; Ironic reaches the BMC and knows the power state.
 3. inspect: Ironic's `inspect`; the agent boots from virtual media, on the network that an unconfigured switch port
    is on, and reports hardware and LLDP neighbours. Ends powered off.
 4. identify: the serial number from within must be the BMC's, otherwise it stops here: cables are crossed. It stops as
    well if another node is this server: somebody enrolled it at the same moment. Each NIC is bound to the switch port
    that it heard; from now on the network interface is `neutron` (or Steelyard's own) and the ports are managed. Size
    and capabilities are set from what was found.
 5. clean: Ironic's `provide`, which cleans (on the cleaning network) before the node is available. In a node that
    somebody holds in maintenance no agent goes on: wait for its end, for as long as `maintenance_seconds` says.
 6. offered: wait until Placement offers it, which is Nova's to tell it; the next server's turn has come meanwhile.
 7. record: candidate and node say so.
A failure leaves the node where it is, which is nowhere that tenants can reach (enroll, manageable, failed), stops an
inspection or cleaning that still runs, and leaves the reason and the next command on the candidate. So does a
cancellation. Onboarding again goes on where it stopped. A node that was never offered to anybody may also be deleted.
"""

from __future__ import annotations

from steelyard.discovery.binding import again
from steelyard.discovery.onboarding import SAYS_NEXT, Onboarding
from steelyard.discovery.service import ONBOARD, SWEEP, DiscoveryService
from steelyard.errors import SteelyardError
from steelyard.lifecycle.patience import patient
from steelyard.operations.model import Done, OperationKind, Outcome, Retry, Step, StepContext, StepFunction

ONBOARD_AT_A_TIME = 10
"""What one conductor and one provisioning network bear well; the others wait their turn."""
VERIFY_SECONDS = 300.0
CLEAN_SECONDS = 24 * 3600.0
"""Erasing large rotating disks takes most of a day."""
OFFER_SECONDS = 3600.0
"""Nova tells Placement of its nodes one after the other: with a thousand of them the turn comes after minutes."""
STOP_SECONDS = 600.0
"""What an inspection or a step of a cleaning may take to be stopped."""
AGAIN = "steelyard node onboard {candidate_id}"


def kinds(service: DiscoveryService) -> tuple[OperationKind, ...]:
    """The kinds of operation of this room."""
    return (_sweep(service), _onboard(service))


def _sweep(service: DiscoveryService) -> OperationKind:
    def sweep(ctx: StepContext) -> Outcome:
        done, total, result = service.sweep_some(ctx.operation_id, ctx.params)
        if result is None:
            return Retry(0.0, f"the rest of the addresses: {done} of {total} asked")
        return Done(result)

    def forget(ctx: StepContext) -> Outcome:
        service.forget_sweep(ctx.operation_id, ctx.params)
        return Done()

    return OperationKind(
        SWEEP,
        steps=[
            Step("ask every address", sweep, deadline=2 * 3600.0, next="sweep smaller ranges"),
            Step("forget the credentials given", forget),
        ],
        on_failure=forget,
        administrators=True,
        concurrency=2,
    )


def _onboard(service: DiscoveryService) -> OperationKind:
    onboarding = Onboarding(
        clouds=service.clouds, store=service.store, settings=service.settings, observer=service.observer
    )
    enrolled = frozenset({"enroll"})
    inspectable = frozenset({"manageable", "inspect failed"})
    return OperationKind(
        ONBOARD,
        steps=[
            _step("enroll", onboarding.enroll),
            _step("ask Ironic to verify the BMC", lambda ctx: onboarding.ask(ctx, "manage", when=enrolled)),
            _step("wait until verified", onboarding.verify_ended, deadline=VERIFY_SECONDS),
            _step("ask for inspection", lambda ctx: onboarding.ask(ctx, "inspect", when=inspectable)),
            _step("wait for the inspection", onboarding.inspection_ended, deadline=service.settings.inspect_seconds),
            _step("identify and bind switch ports", onboarding.identify),
            _step("start cleaning", onboarding.start_cleaning, deadline=service.settings.maintenance_seconds + 60.0),
            _step("wait until clean", onboarding.cleaning_ended, deadline=CLEAN_SECONDS),
            _step("wait until offered", onboarding.offered, deadline=OFFER_SECONDS, aside=True),
            _step("record", onboarding.record),
        ],
        on_failure=onboarding.give_up,
        failure_deadline=STOP_SECONDS,
        next=AGAIN,
        administrators=True,
        concurrency=ONBOARD_AT_A_TIME,
    )


def _step(name: str, do: StepFunction, *, deadline: float = 60.0, aside: bool = False) -> Step:
    """A patient step whose every failure says what helps: its own next where it knows better, else onboarding again."""
    patiently = patient(do)

    def advised(ctx: StepContext) -> Outcome:
        try:
            return patiently(ctx)
        except SteelyardError as error:
            if error.next is None or error.code not in SAYS_NEXT:
                error.next = again(ctx)
            raise

    return Step(name, advised, deadline=deadline, next=AGAIN, aside=aside)
