"""Puts the parts together: settings -> adapters -> services -> routes. Only this module knows the adapters.

What the operator names in the settings decides which cloud, which switches and which database; nothing else in
Steelyard can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from steelyard.attention import routes as attention_routes
from steelyard.attention import work as attention_work
from steelyard.attention.metrics import FleetMetrics
from steelyard.attention.service import AttentionService
from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Clouds
from steelyard.discovery import bulk as discovery_bulk
from steelyard.discovery import routes as discovery_routes
from steelyard.discovery import work as discovery_work
from steelyard.discovery.service import DiscoveryService
from steelyard.drift import routes as drift_routes
from steelyard.drift import work as drift_work
from steelyard.drift.service import SOURCE as DRIFT
from steelyard.drift.service import DriftService
from steelyard.events import routes as events_routes
from steelyard.events import webhook_routes
from steelyard.events import work as events_work
from steelyard.events.audit import AuditService
from steelyard.events.service import EventService
from steelyard.events.streams import Streams
from steelyard.events.webhooks import WebhookService
from steelyard.flavors import routes as flavors_routes
from steelyard.flavors.service import FlavorService
from steelyard.hardware.redfish.port import BmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.images import routes as images_routes
from steelyard.images import work as images_work
from steelyard.images.service import ImageService
from steelyard.inventory import routes as inventory_routes
from steelyard.inventory import work as inventory_work
from steelyard.inventory.service import InventoryService
from steelyard.ipam import check_routes as ipam_check_routes
from steelyard.ipam import checking as ipam_checking
from steelyard.ipam import reservation_routes
from steelyard.ipam import routes as ipam_routes
from steelyard.ipam.checking import IpamCheck
from steelyard.ipam.reservations import ReservationService
from steelyard.ipam.service import IpamService
from steelyard.isolation import check_routes, segment_routes
from steelyard.isolation import checking as isolation_checking
from steelyard.isolation import routes as isolation_routes
from steelyard.isolation import work as isolation_work
from steelyard.isolation.checking import FleetCheck
from steelyard.isolation.flips import Flips
from steelyard.isolation.segments import Segments
from steelyard.isolation.service import IsolationService
from steelyard.lifecycle import bulk as lifecycle_bulk
from steelyard.lifecycle import guarding, leak_routes
from steelyard.lifecycle import routes as lifecycle_routes
from steelyard.lifecycle import work as lifecycle_work
from steelyard.lifecycle.leaking import LeakService
from steelyard.lifecycle.leaking import reconcilers as leak_reconcilers
from steelyard.lifecycle.service import LifecycleService
from steelyard.lifecycle.vifs import LeftVifs
from steelyard.networks import attach_work, cabling_routes, cabling_work, nic_routes, topology_routes
from steelyard.networks import routes as networks_routes
from steelyard.networks.attaching import NicService
from steelyard.networks.cabling import CablingService
from steelyard.networks.preflight_routes import router as preflight_router
from steelyard.networks.service import NetworkService, TopologyService
from steelyard.networks.set_up import PreflightService
from steelyard.networks.sub_interfaces import TagWatch
from steelyard.networks.watching import GroupWatch
from steelyard.operations import reconciler_routes
from steelyard.operations import routes as operations_routes
from steelyard.operations.bulking import Bulk
from steelyard.operations.engine import DurableOperations
from steelyard.operations.leases import ServerLease
from steelyard.operations.model import Operations
from steelyard.operations.reconcilers import PeriodicReconcilers
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.store.connections import shares_of
from steelyard.web.app import build_app
from steelyard.web.metrics import Metrics

if TYPE_CHECKING:
    from fastapi import FastAPI


@dataclass(frozen=True)
class Steelyard:
    """Everything that the server is made of."""

    settings: Settings
    clouds: Clouds
    store: Store
    operations: Operations
    switches: SwitchReaders
    prober: BmcProber

    images: ImageService
    flavors: FlavorService
    networks: NetworkService
    nics: NicService
    cabling: CablingService
    ipam: IpamService
    discovery: DiscoveryService
    inventory: InventoryService
    lifecycle: LifecycleService
    isolation: IsolationService

    bulk: Bulk
    """Actions on many things; rooms' actions are registered in `assemble`."""
    reconcilers: PeriodicReconcilers
    observer: Observer
    """The cloud's bulk lists, shared by all reconcilers."""
    attention: AttentionService
    events: EventService
    streams: Streams
    audit: AuditService
    webhooks: WebhookService
    leaks: LeakService
    fleet_check: FleetCheck
    drift: DriftService
    reservations: ReservationService
    ipam_check: IpamCheck


def assemble(
    settings: Settings,
    *,
    clouds: Clouds,
    store: Store,
    operations: Operations,
    switches: SwitchReaders,
    prober: BmcProber,
    lease: ServerLease | None = None,
) -> Steelyard:
    """The services of all rooms over the given parts, real ones or fakes; their kinds of operation, bulk actions and
    reconcilers are registered. `lease`: this server's, which the durable engine of operations has too."""
    lease = lease or ServerLease(store.servers, replica=settings.replica, alone=store.database.is_sqlite)
    observer = Observer(clouds)
    segments = Segments(clouds=clouds, store=store, settings=settings)
    flips = Flips(clouds=clouds, store=store, switches=switches, settings=settings, segments=segments)
    reconcilers = PeriodicReconcilers(store.reconcilers, lease)
    leaks = LeakService(clouds=clouds, store=store, observer=observer)
    fleet_check = FleetCheck(
        clouds=clouds, switches=switches, settings=settings, store=store, observer=observer, segments=segments
    )
    networks = NetworkService(clouds=clouds, settings=settings)
    lifecycle = LifecycleService(
        clouds=clouds, store=store, operations=operations, settings=settings, flips=flips, mending=fleet_check.mending
    )
    ipam = IpamService(clouds=clouds, store=store)
    built = Steelyard(
        settings=settings,
        clouds=clouds,
        store=store,
        operations=operations,
        switches=switches,
        prober=prober,
        images=ImageService(clouds=clouds, operations=operations, store=store, settings=settings),
        flavors=FlavorService(clouds=clouds),
        networks=networks,
        nics=NicService(
            clouds=clouds, operations=operations, store=store, networks=networks, find=lifecycle.server
        ),
        cabling=CablingService(
            clouds=clouds, operations=operations, store=store, nodes=lifecycle.nodes, switches=switches
        ),
        ipam=ipam,
        discovery=DiscoveryService(
            clouds=clouds, store=store, operations=operations, prober=prober, settings=settings, observer=observer
        ),
        inventory=InventoryService(clouds=clouds, store=store, observer=observer, signal=reconcilers.signal),
        lifecycle=lifecycle,
        isolation=IsolationService(
            clouds=clouds,
            switches=switches,
            settings=settings,
            store=store,
            flips=flips,
            observer=observer,
            segments=segments,
            signal=reconcilers.signal,
        ),
        bulk=Bulk(operations, store),
        reconcilers=reconcilers,
        observer=observer,
        attention=AttentionService(observer=observer, store=store, reconcilers=reconcilers),
        events=EventService(clouds=clouds, store=store, operations=operations),
        streams=Streams(store.events, per_user=settings.event_streams_per_user, total=settings.event_streams),
        audit=AuditService(store=store, folder=settings.home / "steelyard"),
        webhooks=WebhookService(store=store, settings=settings),
        leaks=leaks,
        fleet_check=fleet_check,
        drift=DriftService(
            clouds=clouds, store=store, operations=operations, settings=settings, observer=observer, leaks=leaks,
            fleet_check=fleet_check,
        ),
        reservations=ReservationService(ipam=ipam, store=store, signal=reconcilers.signal),
        ipam_check=IpamCheck(clouds=clouds, store=store, settings=settings, observer=observer),
    )  # fmt: skip
    operations.register(
        *images_work.kinds(built.images),
        *discovery_work.kinds(built.discovery),
        *lifecycle_work.kinds(built.lifecycle),
        *cabling_work.kinds(clouds, store, switches, fleet_check.mending),
        *attach_work.kinds(clouds, store, settings, switches, built.isolation.show),
        *drift_work.kinds(built.drift),
    )
    built.bulk.register(*lifecycle_bulk.actions(built.lifecycle), *discovery_bulk.actions(built.discovery))
    reconcilers.register(*built.bulk.reconcilers())
    reconcilers.register(*attention_work.reconcilers(built.attention))
    reconcilers.register(*events_work.reconcilers(built.audit, built.webhooks))
    events_work.signal_on_events(store, reconcilers)
    reconcilers.register(*inventory_work.reconcilers(built.inventory))
    reconcilers.register(*guarding.reconcilers(built.lifecycle, observer, settings))
    reconcilers.register(*isolation_work.reconcilers(built.isolation))
    reconcilers.register(*isolation_checking.reconcilers(built.fleet_check))
    reconcilers.register(*leak_reconcilers(built.leaks))
    vifs = LeftVifs(clouds, store, observer, changed=partial(reconcilers.signal, DRIFT))
    reconcilers.register(*drift_work.reconcilers(built.drift), vifs.reconciler())
    reconcilers.register(TagWatch(clouds=clouds, observer=observer).reconciler())
    reconcilers.register(GroupWatch(clouds=clouds, store=store, observer=observer).reconciler())
    reconcilers.register(*ipam_checking.reconcilers(built.ipam_check))
    return built


def create_app(built: Steelyard) -> FastAPI:
    """The REST application of all rooms."""
    return build_app(
        [
            images_routes.router(built.images),
            flavors_routes.router(built.flavors),
            networks_routes.router(built.networks),
            preflight_router(PreflightService(clouds=built.clouds, settings=built.settings)),
            nic_routes.router(built.nics),
            cabling_routes.router(built.cabling),
            topology_routes.router(TopologyService(built.observer)),
            ipam_routes.router(built.ipam),
            reservation_routes.router(built.reservations),
            ipam_check_routes.router(built.ipam_check),
            discovery_routes.router(built.discovery),
            inventory_routes.router(built.inventory),
            lifecycle_routes.router(built.lifecycle),
            leak_routes.router(built.leaks),
            isolation_routes.router(built.isolation),
            check_routes.router(built.fleet_check),
            segment_routes.router(built.isolation),
            drift_routes.router(built.drift),
            operations_routes.router(built.operations, built.bulk),
            reconciler_routes.router(built.reconcilers),
            attention_routes.router(built.attention),
            events_routes.router(built.events, built.streams, built.audit, built.clouds.identity.validate),
            webhook_routes.router(built.webhooks),
        ],
        validate=built.clouds.identity.validate,
        checks={
            "database": built.store.database.ping,
            "identity": built.clouds.identity.project_names,
        },
        settings=built.settings,
        metrics=_metrics(built),
    )


def _metrics(built: Steelyard) -> Metrics:
    """What is measured of this server, and the database's numbers beside it."""
    metrics = Metrics(built.settings.resolved_metrics_token())
    fleet = FleetMetrics(
        metrics.registry,
        store=built.store,
        reconcilers=built.reconcilers,
        replica=built.settings.replica,
        streams=built.streams.__len__,
    )
    fleet.begin()
    metrics.before_each(fleet.count)
    metrics.make_token()
    return metrics


def open_operations(settings: Settings, store: Store) -> DurableOperations:
    """The durable engine, in the same database server as the store; on SQLite in a file of its own beside it."""
    if store.database.is_sqlite:
        url = f"sqlite:///{settings.home / 'steelyard' / 'operations.sqlite'}"
    else:
        url = store.database.url.render_as_string(hide_password=False)
    lease = ServerLease(
        store.servers, replica=settings.replica, seconds=settings.lease_seconds, alone=store.database.is_sqlite
    )
    return DurableOperations(
        store.operations,
        lease,
        database_url=url,
        concurrency=settings.operations_at_a_time,
        connections=shares_of(settings.database_connections).engine,
    )


def open_clouds(settings: Settings) -> Clouds:
    """The cloud that the settings name, with the network controller that they name. Asks nothing of it yet."""
    from steelyard.clouds.openstack import connect

    openstack = connect(
        settings.cloud,
        cloud_system=settings.cloud_system,
        clouds_file=settings.resolved_clouds_file(),
        enforces_groups=settings.enforces_groups,
    )
    if settings.network_controller == "neutron":
        return openstack
    from steelyard.clouds.contrail import ContrailClouds, Controller, parse_range

    return ContrailClouds(
        openstack,
        Controller(
            url=settings.contrail_url,
            vlans=parse_range(settings.contrail_vlans) if settings.contrail_vlans else None,
            physical_network=settings.physical_network,
            enforces_security_groups=settings.enforces_groups,
        ),
    )


def build(settings: Settings) -> tuple[Steelyard, DurableOperations]:
    """The server as the settings describe it, and its engine, not launched yet.

    Raises `Invalid` for settings that cannot be, `Unavailable` for a database that cannot be used. Asks nothing of
    the cloud: the server starts, and says so, also while the cloud is down.
    """
    from steelyard.hardware.redfish.aio import AioBmcProber
    from steelyard.hardware.switches import open_switches

    store = Store.open(
        settings.steelyard_database(),
        key_file=settings.resolved_secret_keys(),
        connections=settings.database_connections,
    )
    operations = open_operations(settings, store)
    built = assemble(
        settings,
        clouds=open_clouds(settings),
        store=store,
        operations=operations,
        switches=open_switches(settings.switches),
        prober=AioBmcProber(verify_ca=settings.readable_bmc_ca()),
        lease=operations.lease,
    )
    return built, operations
