from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from steelyard.errors import NotFound, Unavailable
from steelyard.store import Store
from steelyard.store.secrets import load_keys
from steelyard.store.tables import secrets

CANARY = "canary-5f1e77c0"


class TestSecrets:
    def test_comes_back_as_it_went_in(self, store: Store) -> None:
        value = {"username": "admin", "password": "pä\x00ss"}
        assert store.secrets.get(store.secrets.put(value)) == value

    def test_the_database_does_not_show_it(self, store: Store) -> None:
        store.secrets.put({"username": "admin", "password": CANARY})
        with store.database.read() as connection:
            dump = repr(connection.execute(sa.select(secrets)).all())
        assert CANARY not in dump
        assert "admin" not in dump

    def test_no_byte_of_the_files_shows_it(self, tmp_path: Path) -> None:
        store = Store.open(f"sqlite:///{tmp_path / 'db' / 's.sqlite'}", key_file=tmp_path / "keys")
        store.secrets.put({"password": CANARY})
        store.close()
        assert not [path for path in (tmp_path / "db").iterdir() if CANARY.encode() in path.read_bytes()]

    def test_unknown(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.secrets.get("secret-none")

    def test_deleting_twice(self, store: Store) -> None:
        secret = store.secrets.put({"a": "b"})
        store.secrets.delete(secret)
        store.secrets.delete(secret)
        with pytest.raises(NotFound):
            store.secrets.get(secret)

    def test_a_row_copied_over_another_does_not_open(self, store: Store) -> None:
        one, two = store.secrets.put({"a": "1"}), store.secrets.put({"a": "2"})
        with store.database.write() as connection:
            stolen = connection.execute(sa.select(secrets.c.ciphertext).where(secrets.c.id == two)).scalar_one()
            connection.execute(secrets.update().where(secrets.c.id == one).values(ciphertext=stolen))
        with pytest.raises(Unavailable) as refused:
            store.secrets.get(one)
        assert refused.value.code == "secret_unreadable"

    def test_new_keys(self, store: Store, url: str, key_file: Path) -> None:
        secret = store.secrets.put({"a": "b"})
        old = key_file.read_text()
        new = Fernet.generate_key().decode() + "\n"

        key_file.write_text(new + old)
        both = Store.open(url, key_file=key_file)
        assert both.secrets.get(secret) == {"a": "b"}
        assert both.secrets.rotate() == 2, "this one, and the key of the chain of events"
        both.close()

        key_file.write_text(new)
        after = Store.open(url, key_file=key_file)
        assert after.secrets.get(secret) == {"a": "b"}
        after.close()

        key_file.write_text(old)
        with pytest.raises(Unavailable) as refused:
            Store.open(url, key_file=key_file)
        assert refused.value.code == "secret_unreadable"


class TestKeyFile:
    def test_is_made_for_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "keys"
        load_keys(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert [each.name for each in path.parent.iterdir()] == ["keys"]

    def test_is_made_once(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        sealed: list[bytes] = []
        threads = [threading.Thread(target=lambda: sealed.append(load_keys(path).encrypt(b"x"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [load_keys(path).decrypt(each) for each in sealed] == [b"x"] * 8

    def test_readable_by_others(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        load_keys(path)
        path.chmod(0o644)
        with pytest.raises(Unavailable) as refused:
            load_keys(path)
        assert refused.value.next == f"chmod 600 {path}"

    @pytest.mark.parametrize("content", ["", "# nothing\n", f"{CANARY}\n", "é\n"])
    def test_broken_and_never_quoted(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "keys"
        path.touch(mode=0o600)
        path.write_text(content)
        with pytest.raises(Unavailable) as refused:
            load_keys(path)
        assert refused.value.next
        assert CANARY not in str(refused.value)
        assert path.read_text() == content, "a key file is never overwritten"
