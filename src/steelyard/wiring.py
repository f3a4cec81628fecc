"""Puts the parts together: settings -> adapters -> services -> routes. Only this module knows the adapters.

What the operator names in the settings decides which cloud, which switches and which database; nothing else in
Steelyard can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.clouds.ports import Clouds
from steelyard.discovery import routes as discovery_routes
from steelyard.discovery import work as discovery_work
from steelyard.discovery.service import DiscoveryService
from steelyard.flavors import routes as flavors_routes
from steelyard.flavors.service import FlavorService
from steelyard.hardware.redfish.port import BmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.images import routes as images_routes
from steelyard.images import work as images_work
from steelyard.images.service import ImageService
from steelyard.inventory import routes as inventory_routes
from steelyard.inventory.service import InventoryService
from steelyard.ipam import routes as ipam_routes
from steelyard.ipam.service import IpamService
from steelyard.isolation import routes as isolation_routes
from steelyard.isolation.service import IsolationService
from steelyard.lifecycle import routes as lifecycle_routes
from steelyard.lifecycle import work as lifecycle_work
from steelyard.lifecycle.service import LifecycleService
from steelyard.networks import routes as networks_routes
from steelyard.networks.service import NetworkService
from steelyard.operations import routes as operations_routes
from steelyard.operations.engine import DurableOperations
from steelyard.operations.model import Operations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.app import build_app

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
    ipam: IpamService
    discovery: DiscoveryService
    inventory: InventoryService
    lifecycle: LifecycleService
    isolation: IsolationService


def assemble(
    settings: Settings,
    *,
    clouds: Clouds,
    store: Store,
    operations: Operations,
    switches: SwitchReaders,
    prober: BmcProber,
) -> Steelyard:
    """The services of all rooms over the given parts, real ones or fakes; their kinds of operation are registered."""
    built = Steelyard(
        settings=settings,
        clouds=clouds,
        store=store,
        operations=operations,
        switches=switches,
        prober=prober,
        images=ImageService(clouds=clouds, operations=operations, store=store, settings=settings),
        flavors=FlavorService(clouds=clouds),
        networks=NetworkService(clouds=clouds, settings=settings),
        ipam=IpamService(clouds=clouds),
        discovery=DiscoveryService(clouds=clouds, store=store, operations=operations, prober=prober, settings=settings),
        inventory=InventoryService(clouds=clouds, store=store),
        lifecycle=LifecycleService(clouds=clouds, store=store, operations=operations, settings=settings),
        isolation=IsolationService(clouds=clouds, switches=switches, settings=settings),
    )
    operations.register(
        *images_work.kinds(built.images),
        *discovery_work.kinds(built.discovery),
        *lifecycle_work.kinds(built.lifecycle),
    )
    return built


def create_app(built: Steelyard) -> FastAPI:
    """The REST application of all rooms."""
    return build_app(
        [
            images_routes.router(built.images),
            flavors_routes.router(built.flavors),
            networks_routes.router(built.networks),
            ipam_routes.router(built.ipam),
            discovery_routes.router(built.discovery),
            inventory_routes.router(built.inventory),
            lifecycle_routes.router(built.lifecycle),
            isolation_routes.router(built.isolation),
            operations_routes.router(built.operations),
        ],
        validate=built.clouds.identity.validate,
        checks={
            "database": built.store.database.ping,
            "identity": built.clouds.identity.project_names,
        },
        settings=built.settings,
    )


def open_operations(settings: Settings, store: Store) -> DurableOperations:
    """The durable engine, in the same database server as the store; on SQLite in a file of its own beside it."""
    if store.database.is_sqlite:
        url = f"sqlite:///{settings.home / 'steelyard' / 'operations.sqlite'}"
    else:
        url = store.database.url.render_as_string(hide_password=False)
    return DurableOperations(
        store.operations,
        database_url=url,
        executor_id=settings.replica,
        concurrency=settings.operations_at_a_time,
    )


def build(settings: Settings) -> tuple[Steelyard, DurableOperations]:
    """The server as the settings describe it, and its engine, not launched yet.

    Raises `Invalid` for settings that cannot be, `Unavailable` for a database that cannot be used. Asks nothing of
    the cloud: the server starts, and says so, also while the cloud is down.
    """
    from steelyard.clouds.openstack import connect
    from steelyard.hardware.redfish.aio import AioBmcProber
    from steelyard.hardware.switches import open_switches

    store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
    operations = open_operations(settings, store)
    built = assemble(
        settings,
        clouds=connect(settings.cloud, cloud_system=settings.cloud_system, clouds_file=settings.resolved_clouds_file()),
        store=store,
        operations=operations,
        switches=open_switches(settings.switches),
        prober=AioBmcProber(verify_ca=settings.readable_bmc_ca()),
    )
    return built, operations
