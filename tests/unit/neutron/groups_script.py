"""Run by test_groups under the OpenStack environment's Python: Neutron's API with ML2, networking-generic-switch and
the plugin of security groups.

    groups_script.py DIRECTORY

DIRECTORY has neutron.conf; Neutron's database is made there. Reads lines of JSON, each a list of requests, `[method,
path, body]`, that are made at the same time; answers each line with one: a list of `[status, document]`.
"""

import json
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

from boot_script import boot

DIRECTORY = pathlib.Path(sys.argv[1])
boot(DIRECTORY)

import webob  # noqa: E402
from neutron_lib import context as neutron_context  # noqa: E402

from neutron.pecan_wsgi import app  # noqa: E402

application = app.v2_factory({})
PROJECT = "7c9e667074254de1b8d1f0a9c0b1c2d3"


def answer(request):
    method, path, body = request
    context = neutron_context.Context(user_id="u", project_id=PROJECT, is_admin=True, roles=["admin", "service"])
    made = webob.Request.blank(path, method=method, environ={"neutron.context": context})
    if body is not None:
        made.content_type = "application/json"
        made.body = json.dumps(body).encode()
    given = made.get_response(application)
    return [given.status_int, json.loads(given.body) if given.body else None]


print("ready", flush=True)
with ThreadPoolExecutor(8) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(answer, json.loads(line)))), flush=True)
