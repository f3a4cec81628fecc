"""The steps and services of one embedded cloud, made from its home."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from steelyard.embedded import networks, readiness
from steelyard.embedded.configuration import DATABASES, Description, networks_file
from steelyard.embedded.configuration.description import VIRTUAL_HOST
from steelyard.embedded.credentials import USERS
from steelyard.embedded.files import write_atomically
from steelyard.embedded.home import Home
from steelyard.embedded.processes import MARK
from steelyard.embedded.requests import Session
from steelyard.embedded.units import Plan, Service, Step

LAUNCHERS = Path(__file__).parent / "launchers"
SEED_VERSION = 3
"""Raise it when what the steps make changes: templates of earlier versions are then not used."""
COMPUTE_VERSION = {"X-OpenStack-Nova-API-Version": "2.90"}
BAREMETAL_VERSION = {"X-OpenStack-Ironic-API-Version": "1.99"}


def plan(home: Home, cloud: Description) -> Plan:
    """Everything to be started for this home. Nothing happens yet."""
    session = Session(home.port("keystone"), "steelyard", cloud.passwords["steelyard"], "service")
    steps = [*_database_steps(home, cloud), _network_step(home, session)]
    services = [*_openstack_services(home, session), *_rack_services(home), *_controller_services(home, session),
                _steelyard_service(home)]  # fmt: skip
    return Plan(tuple(steps), tuple(services))


# -- steps -------------------------------------------------------------------------------------------------------------


def fingerprint(*values: object) -> str:
    """A short hash by which a change of inputs is noticed."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def identity_fingerprint(home: Home) -> str:
    """Changes with the ports (they are in the catalogue) and the passwords; does not give them away."""
    passwords = [home.credentials.get(f"{user}_password") for user in USERS]
    return fingerprint(SEED_VERSION, dict(home.record.ports), passwords)


def postgresql_command(home: Home, verb: str) -> tuple[str, ...]:
    """The program that creates or drops (`verb`) the databases of a home that uses PostgreSQL."""
    home_id = fingerprint(str(home.root), home.record.created)
    url_file = str(home.credentials.path("database_url"))
    return (*_launcher(home, "postgresql_databases.py"), verb, home_id, url_file, *DATABASES)


def _database_steps(home: Home, cloud: Description) -> list[Step]:
    sqlite = home.record.database == "sqlite"
    environment = {**openstack_environment(home), "STEELYARD_DATABASE_SCRATCH": "1"}
    first: tuple[str, ...] = ()
    steps = []
    if not sqlite:
        first = ("databases",)
        steps.append(
            Step(
                "databases",
                "PostgreSQL: one database per service",
                postgresql_command(home, "create"),
                environment=environment,
            )
        )

    def step(
        name: str, title: str, launcher: str, arguments: tuple[str, ...], *databases: str, inputs: str = ""
    ) -> None:
        files = tuple(
            home.path("db", f"{database}.sqlite{suffix}")
            for database in databases
            for suffix in ("", "-wal", "-shm")
            if sqlite
        )
        steps.append(
            Step(
                f"{name}-database",
                title,
                (*_launcher(home, launcher), *arguments),
                environment=environment,
                needs=first,
                inputs=fingerprint(SEED_VERSION, inputs),
                discards=files,
            )
        )

    def conf(*parts: str) -> str:
        return str(home.path("etc", *parts))

    nova = (
        conf("nova", "nova.conf"),
        cloud.cell_connection("nova_cell0"),
        cloud.cell_connection("nova_cell1"),
        cloud.cell_transport,
    )
    # The slowest first: on two cores the order decides when the last one ends.
    step("nova", "Nova: databases and cells", "nova_database.py", nova, "nova_api", "nova_cell0", "nova_cell1")
    step("keystone", "Keystone: database and keys", "keystone_database.py",
         (conf("keystone", "keystone.conf"), conf("keystone", "identity_seed.json")), "keystone",
         inputs=identity_fingerprint(home))  # fmt: skip
    step("neutron", "Neutron: database", "neutron_database.py",
         (conf("neutron", "neutron.conf"), conf("neutron", "ml2_conf.ini")), "neutron")  # fmt: skip
    step("ironic", "Ironic: database", "simple_databases.py", ("ironic", conf("ironic", "ironic.conf")), "ironic")
    step("placement", "Placement: database", "simple_databases.py",
         ("placement", conf("placement", "placement.conf")), "placement")  # fmt: skip
    step("glance", "Glance: database", "simple_databases.py", ("glance", conf("glance", "glance-api.conf")), "glance")
    return steps


def _network_step(home: Home, session: Session) -> Step:
    """Beside the networks themselves, Ironic's networks.conf with their ids, which Ironic awaits."""
    conf = networks_conf_file(home)
    segments = home.record.segment_vlans

    def seed() -> None:
        write_atomically(conf, networks_file(networks.seed_patiently(session, home.port("neutron"), segments)))

    return Step(
        "networks",
        "Networks: provisioning, cleaning, inspection, rescue, quarantine, segments",
        call=seed,
        needs=("keystone", "neutron", *(("contrail",) if home.record.network == "contrail" else ())),
        inputs=fingerprint(SEED_VERSION, networks.vlans_with(segments)),
        discards=(conf,),
    )


def networks_conf_file(home: Home) -> Path:
    """Ironic's second configuration file: with the databases, as the ids in it live and die with Neutron's."""
    return home.path("db", "networks.conf")


# -- services ----------------------------------------------------------------------------------------------------------


def _openstack_services(home: Home, session: Session) -> list[Service]:
    environment = openstack_environment(home)

    def wsgi(name: str, path: str, threads: int) -> Service:
        port = home.port(name)
        check = readiness.authenticated(session, port, path)
        return Service(
            name, (*_launcher(home, "wsgi.py"), name, str(port), str(threads)), port, environment,
            needs=(f"{name}-database",), check=check, stop_wave=3,
        )  # fmt: skip

    keystone = wsgi("keystone", "", 10)
    needed_by_nova = tuple(str(home.port(name)) for name in ("keystone", "placement", "ironic"))
    return [
        Service(**{**vars(keystone), "check": readiness.login_works(session)}),
        Service(
            "nova",
            (*_launcher(home, "nova_all.py"), str(home.path("etc", "nova", "nova.conf")), VIRTUAL_HOST,
             str(home.port("nova")), *needed_by_nova),
            home.port("nova"), environment, needs=("nova-database",), stop_wave=2,
            check=readiness.authenticated(
                session, home.port("nova"), "/v2.1/os-services", headers=COMPUTE_VERSION,
                judge=readiness.nova_services_up,
            ),
        ),
        Service(
            "ironic",
            (*_launcher(home, "ironic_all.py"), str(home.path("etc", "ironic", "ironic.conf")),
             str(networks_conf_file(home))),
            home.port("ironic"), environment, needs=("ironic-database",), stop_wave=2,
            # The conductor starts before the API in the same process: an answer means that both are there.
            check=readiness.authenticated(
                session, home.port("ironic"), "/v1/nodes?limit=1", headers=BAREMETAL_VERSION
            ),
        ),
        wsgi("neutron", "/v2.0/networks", 12),
        wsgi("placement", "/resource_providers", 10),
        wsgi("glance", "/v2/images?limit=1", 10),
        Service(
            "http",
            (str(home.python), "-I", "-S", str(LAUNCHERS / "static_files.py"), str(home.path("http")),
             str(home.port("http"))),
            home.port("http"), environment, stop_wave=3, check=readiness.answers(home.port("http"), "/", expected=404),
        ),
    ]  # fmt: skip


def _rack_services(home: Home) -> list[Service]:
    environment = steelyard_environment(home)
    return [
        Service(
            f"rack-{kind}",
            (sys.executable, "-m", f"steelyard.embedded.rack.{kind}", "--home", str(home.root)),
            home.port(f"rack_{kind}"),
            environment,
            stop_wave=3,
            check=readiness.answers(
                home.port(f"rack_{kind}"), "/health", bearer=lambda: home.credentials.get("rack_token")
            ),
        )
        for kind in ("bmc", "agents", "switch")
    ]


def _controller_services(home: Home, session: Session) -> list[Service]:
    """The Contrail controller, where it is the authority for networks."""
    if home.record.network != "contrail":
        return []
    return [
        Service(
            "contrail",
            (sys.executable, "-m", "steelyard.embedded.contrail", "--home", str(home.root)),
            home.port("contrail"),
            steelyard_environment(home),
            needs=("keystone", "rack-switch"),
            check=readiness.authenticated(session, home.port("contrail"), "/projects?count=true"),
            stop_wave=3,
        )
    ]


def server_environment(home: Home) -> dict[str, str]:
    """Environment of Steelyard's own server; a second one beside it takes another STEELYARD_PORT and _REPLICA."""
    environment = {
        **steelyard_environment(home),
        "STEELYARD_CLOUD": "steelyard",
        "STEELYARD_CLOUD_SYSTEM": "steelyard-system",
        "STEELYARD_CLOUDS_FILE": str(home.path("clouds.yaml")),
        "STEELYARD_PORT": str(home.port("steelyard")),
        "STEELYARD_SWITCHES": str(home.path("rack", "switches.yaml")),
        "STEELYARD_BMC_VERIFY_CA": str(home.path("rack", "ca.pem")),
        "STEELYARD_DEPLOY_ISO": f"{home.url('http')}/ipa.iso",
        "STEELYARD_IMAGE_SOURCES": '["127.0.0.0/8"]',
        "STEELYARD_POWER_SECONDS": "5",
        "STEELYARD_UNVERIFIED": "refuse",  # every switch of the rack has a reader
        "STEELYARD_ENFORCES_GROUPS": json.dumps(home.record.filters),
        "STEELYARD_SEGMENTS": json.dumps([networks.SEGMENT_PATTERN]),
    }
    if _own_database_on_postgresql(home):
        environment["STEELYARD_DATABASE_FILE"] = str(home.credentials.path("steelyard_database_url"))
    return environment


def _steelyard_service(home: Home) -> Service:
    return Service(
        "steelyard",
        (sys.executable, "-m", "steelyard.main", "serve"),
        home.port("steelyard"),
        server_environment(home),
        needs=("keystone",),
        check=readiness.answers(home.port("steelyard"), "/health"),
        stop_wave=1,
    )


def _own_database_on_postgresql(home: Home) -> bool:
    """Whether Steelyard's own database is beside the services' ones; its URL is in a file then.

    Earlier releases kept it on SQLite in every home: what is there stays there.
    """
    if home.record.database == "sqlite" or home.path("steelyard", "steelyard.sqlite").exists():
        return False
    url = home.credentials.get("database_url").rstrip("/")
    home.credentials.store("steelyard_database_url", f"{url}/steelyard")
    return True


# -- environments ------------------------------------------------------------------------------------------------------


def _launcher(home: Home, name: str) -> tuple[str, ...]:
    return (str(home.python), str(LAUNCHERS / name))


def _common_environment(home: Home, programs: Path) -> dict[str, str]:
    """Nothing is inherited but the time zone: a service must not depend on who started the cloud, from where."""
    kept = {name: value for name, value in os.environ.items() if name in ("TZ", "LANG", "LC_ALL")}
    return {
        **kept,
        MARK: str(home.root),
        "HOME": str(home.root),
        "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": str(home.path("run")),
        "XDG_CACHE_HOME": str(home.path("cache")),  # stevedore keeps the entry points there: a second of every start
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",  # dozens of threads, each with an arena of its own otherwise
    }


def openstack_environment(home: Home) -> dict[str, str]:
    """Environment of the OpenStack services; says where their files are, holds no secret."""
    etc = home.path("etc")
    return {
        **_common_environment(home, home.openstack / "bin"),
        "PYTHONWARNINGS": "ignore",
        "OS_KEYSTONE_CONFIG_DIR": str(etc / "keystone"),
        "OS_PLACEMENT_CONFIG_DIR": str(etc / "placement"),
        "OS_GLANCE_CONFIG_DIR": str(etc / "glance"),
        "OS_NEUTRON_CONFIG_DIR": str(etc / "neutron"),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2_conf.ini",
        "OS_NOVA_CONFIG_DIR": str(etc / "nova"),
        "OS_NOVA_CONFIG_FILES": f"{home.openstack / 'etc' / 'nova' / 'api-paste.ini'};nova.conf",
    }


def steelyard_environment(home: Home) -> Mapping[str, str]:
    """Environment of the rack's processes and of Steelyard's own server."""
    return {**_common_environment(home, Path(sys.executable).parent), "STEELYARD_HOME": str(home.root)}
