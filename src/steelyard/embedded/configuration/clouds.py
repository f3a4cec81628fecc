"""clouds.yaml: how the stock client and Steelyard log in."""

from __future__ import annotations

import json
from typing import Any

from steelyard.embedded.configuration.description import REGION, Description


def clouds_yaml(cloud: Description) -> str:
    """clouds.yaml with the entries admin, system, demo, steelyard and steelyard-system (JSON, which is YAML too)."""

    def entry(user: str, scope: dict[str, str]) -> dict[str, Any]:
        auth = {
            "auth_url": cloud.identity_url,
            "username": user,
            "password": cloud.passwords[user],
            "user_domain_name": "Default",
            **scope,
        }
        return {"auth": auth, "region_name": REGION, "identity_api_version": 3}

    def project(name: str) -> dict[str, str]:
        return {"project_name": name, "project_domain_name": "Default"}

    return json.dumps(
        {
            "clouds": {
                "admin": entry("admin", project("admin")),
                "system": entry("admin", {"system_scope": "all"}),
                "demo": entry("demo", project("demo")),
                "steelyard": entry("steelyard", project("service")),
                "steelyard-system": entry("steelyard", {"system_scope": "all"}),
            }
        },
        indent=2,
    )
