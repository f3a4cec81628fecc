"""Leases of servers: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard.errors import Conflict, Unavailable
from steelyard.operations.fake import MemoryServers
from steelyard.operations.leases import ServerLease, Servers, Superseded
from steelyard.store import Store


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Servers]:
    if request.param == "memory":
        yield MemoryServers()
        return
    url = (
        request.getfixturevalue("new_postgresql")()
        if request.param == "postgresql"
        else f"sqlite:///{tmp_path / 's.sqlite'}"
    )
    store = Store.open(url, key_file=tmp_path / "keys")
    yield store.servers
    store.close()


class TestServers:
    def test_one_boot_for_each_name(self, servers: Servers) -> None:
        assert servers.take("a", "boot-1", 60, alone=False) is None
        assert servers.take("b", "boot-2", 60, alone=False) is None
        other = servers.take("a", "boot-3", 60, alone=False)
        assert other is not None
        assert other.boot == "boot-1"
        assert servers.live() == {"boot-1", "boot-2"}

    def test_who_is_alone_takes_the_name_at_once(self, servers: Servers) -> None:
        servers.take("a", "boot-1", 60, alone=True)
        assert servers.take("a", "boot-2", 60, alone=True) is None
        assert servers.live() == {"boot-2"}
        assert servers.renew("boot-1", 60) is False
        assert servers.renew("boot-2", 60) is True

    def test_released_is_not_alive_and_twice_is_once(self, servers: Servers) -> None:
        servers.take("a", "boot-1", 60, alone=False)
        servers.release("boot-1")
        servers.release("boot-1")
        assert servers.live() == set()
        assert servers.take("a", "boot-2", 60, alone=False) is None

    def test_an_expired_one_is_dead_until_it_renews(self, servers: Servers) -> None:
        servers.take("a", "boot-1", 0.2, alone=False)
        time.sleep(0.3)
        assert servers.live() == set()
        assert servers.renew("boot-1", 60), "nobody took the name: it is back"
        assert servers.live() == {"boot-1"}

    def test_many_that_start_at_once_with_one_name(self, servers: Servers) -> None:
        won: list[str] = []

        def start(boot: str) -> None:
            if servers.take("a", boot, 60, alone=False) is None:
                won.append(boot)

        threads = [threading.Thread(target=start, args=(f"boot-{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert servers.live() == set(won)


class TestServerLease:
    def test_a_living_twin_is_refused(self, servers: Servers) -> None:
        first = ServerLease(servers, replica="a", seconds=0.6)
        first.acquire()
        with pytest.raises(Conflict) as refused:
            ServerLease(servers, replica="a", seconds=0.6).acquire()
        assert refused.value.code == "replica_in_use"
        assert refused.value.next
        first.release()
        assert servers.live() == set()

    def test_the_lease_of_a_dead_one_is_waited_for(self, servers: Servers) -> None:
        servers.take("a", "dead", 0.5, alone=False)
        second = ServerLease(servers, replica="a", seconds=0.5)
        second.acquire()
        assert servers.live() == {second.boot}
        second.release()

    def test_it_beats(self, servers: Servers) -> None:
        lease = ServerLease(servers, replica="a", seconds=0.5)
        lease.acquire()
        time.sleep(1.2)
        assert servers.live() == {lease.boot}
        lease.release()

    def test_superseded_is_noticed(self, servers: Servers) -> None:
        now = [100.0]
        lost = threading.Event()
        lease = ServerLease(servers, replica="a", seconds=30, clock=lambda: now[0])
        lease.on_lost(lost.set)
        lease.acquire()
        lease.ensure()
        servers.take("a", "another", 60, alone=True)
        lease.ensure()  # renewed a moment ago, as far as it knows
        now[0] += 25
        with pytest.raises(Superseded):
            lease.ensure()
        assert not lost.is_set(), "the heart will tell"
        lease.release()
        assert servers.live() == {"another"}, "another's lease is not given up"

    def test_the_heart_tells_once(self, servers: Servers) -> None:
        lost: list[str] = []
        lease = ServerLease(servers, replica="a", seconds=0.3)
        lease.on_lost(lambda: lost.append("lost"))
        lease.acquire()
        servers.take("a", "another", 60, alone=True)
        time.sleep(0.6)
        assert lost == ["lost"]
        lease.release()

    def test_a_database_that_is_away_is_borne_with(self) -> None:
        class Away(MemoryServers):
            away = False

            def renew(self, boot: str, seconds: float) -> bool:
                if self.away:
                    raise Unavailable("away")
                return super().renew(boot, seconds)

        servers = Away()
        lease = ServerLease(servers, replica="a", seconds=0.3)
        lease.acquire()
        servers.away = True
        time.sleep(0.4)
        with pytest.raises(Unavailable):
            lease.ensure()
        servers.away = False
        lease.ensure()
        lease.release()
