"""A password that is given to the API is nowhere afterwards: not in an answer, a log, an event, a table, a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from .conftest import Site

CANARY = "canary-e41b07"


@pytest.mark.parametrize("targets", [["192.0.2.1", "192.0.2.2"], ["no address"]])
def test_of_a_sweep(site: Site, tmp_path: Path, targets: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    headers = site.admin
    with structlog.testing.capture_logs() as logged:
        answers = [
            site.client.post(
                "/v1/discoveries",
                headers=headers,
                json={"targets": targets, "credentials": [{"username": "root", "password": CANARY}]},
            ),
            *(site.client.get(path, headers=headers) for path in ("/v1/operations", "/v1/candidates", "/health")),
        ]
    assert answers[0].status_code in (202, 400)
    for answer in answers:
        assert CANARY not in answer.text
        assert CANARY not in str(answer.headers)
    assert CANARY not in repr(logged)
    assert CANARY not in "".join(capsys.readouterr())
    site.built.store.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_tokens_are_not_kept(site: Site, tmp_path: Path) -> None:
    headers = site.admin
    with structlog.testing.capture_logs() as logged:
        site.client.post(
            "/v1/discoveries",
            headers=headers,
            json={"targets": ["192.0.2.1"], "credentials": [{"username": "root", "password": "x"}]},
        )
    token = headers["X-Auth-Token"]
    assert token not in repr(logged)
    site.built.store.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
