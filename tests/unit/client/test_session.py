"""Credentials and addresses, found where every OpenStack tool finds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steelyard.client.errors import NotAuthenticated, NotConfigured, ServerUnreachable
from steelyard.client.session import Choices, Session

from .conftest import PASSWORD, Keystone, clouds_yaml

URL = "http://127.0.0.1:1"


class TestToken:
    def test_from_the_cloud_that_is_named(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo", "other")
        assert Session(Choices(cloud="demo")).token() == "token-1"

    def test_from_os_cloud(self, nowhere: Path, keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo", "other")
        monkeypatch.setenv("OS_CLOUD", "other")
        assert Session(Choices()).token() == "token-1"

    def test_from_os_variables(self, nowhere: Path, keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "AUTH_URL": f"{keystone.url}/v3", "USERNAME": "ada", "PASSWORD": PASSWORD, "PROJECT_NAME": "demo",
            "USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"OS_{name}", value)
        assert Session(Choices()).token() == "token-1"

    def test_from_the_file_that_is_named(
        self, nowhere: Path, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = clouds_yaml(nowhere / "elsewhere.yaml", keystone.url, "demo")
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        assert Session(Choices(cloud="demo")).token() == "token-1"

    def test_from_steelyards_home_when_nothing_else_is_there(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "steelyard" / "clouds.yaml", keystone.url, "admin", "demo")
        assert Session(Choices(cloud="demo")).token() == "token-1"

    def test_not_from_steelyards_home_when_something_else_is(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "steelyard" / "clouds.yaml", keystone.url, "demo")
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "mine")
        with pytest.raises(NotConfigured) as refused:
            Session(Choices(cloud="demo")).token()
        assert "mine" in (refused.value.next or "")

    def test_is_kept_until_a_fresh_one_is_wanted(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo")
        session = Session(Choices(cloud="demo"))
        assert [session.token(), session.token(), session.token(fresh=True)] == ["token-1", "token-1", "token-2"]


class TestTrouble:
    def test_nothing_is_configured(self, nowhere: Path) -> None:
        with pytest.raises(NotConfigured) as refused:
            Session(Choices()).token()
        assert "--os-cloud" in (refused.value.next or "")

    def test_several_clouds_and_none_chosen_names_them(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "steelyard" / "clouds.yaml", keystone.url, "admin", "demo")
        with pytest.raises(NotConfigured) as refused:
            Session(Choices()).token()
        assert "admin, demo" in (refused.value.next or "")

    def test_a_file_that_is_no_yaml(self, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = nowhere / "broken.yaml"
        path.write_text("clouds: [}")
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        with pytest.raises(NotConfigured):
            Session(Choices(cloud="demo")).token()

    def test_a_wrong_password(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo", password="wrong-canary")
        with pytest.raises(NotAuthenticated) as refused:
            Session(Choices(cloud="demo")).token()
        assert "canary" not in str(refused.value)
        assert refused.value.exit_code == 3

    def test_keystone_does_not_answer(self, nowhere: Path) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", URL, "demo")
        with pytest.raises(ServerUnreachable) as refused:
            Session(Choices(cloud="demo")).token()
        assert refused.value.exit_code == 6


class TestUrl:
    def test_from_the_catalogue(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo")
        keystone.catalogue["baremetal-management"] = "http://steelyard:8990/"
        assert Session(Choices(cloud="demo")).url() == "http://steelyard:8990"

    def test_a_version_in_the_catalogue_does_no_harm(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo")
        keystone.catalogue["baremetal-management"] = "http://steelyard/bms/v1/"
        assert Session(Choices(cloud="demo")).url() == "http://steelyard/bms"

    def test_the_variable_wins_and_the_option_more_so(
        self, nowhere: Path, keystone: Keystone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STEELYARD_URL", "http://variable/")
        assert Session(Choices()).url() == "http://variable"
        assert Session(Choices(url="http://option")).url() == "http://option"
        assert keystone.asked == []

    def test_not_in_the_catalogue(self, nowhere: Path, keystone: Keystone) -> None:
        clouds_yaml(nowhere / "usual" / "clouds.yaml", keystone.url, "demo")
        with pytest.raises(NotConfigured) as refused:
            Session(Choices(cloud="demo")).url()
        assert "STEELYARD_URL" in (refused.value.next or "")

    def test_certificates(self, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STEELYARD_URL", "https://steelyard")
        assert Session(Choices(insecure=True)).verify() is False
        with pytest.raises(NotConfigured):
            Session(Choices(cacert=os.devnull + "/none")).verify()
        assert Session(Choices()).verify().check_hostname is True
