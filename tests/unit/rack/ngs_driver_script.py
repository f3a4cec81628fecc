"""Run by test_ngs_driver under the OpenStack environment's Python: the driver as Neutron loads it.

Reads lines of JSON, `[options, [[method, arguments], ...]]`; answers each with a line: a list of values or errors.
"""

import json
import sys

from networking_generic_switch import devices
from networking_generic_switch import exceptions as ngs_exceptions


def answers_to(options, calls):
    try:
        device = devices.device_manager(dict(options), "leaf1")
    except ngs_exceptions.GenericSwitchException as error:
        return [{"error": type(error).__name__, "text": str(error)}]
    answers = []
    for method, arguments in calls:
        try:
            answers.append({"value": getattr(device, method)(**arguments)})
        except ngs_exceptions.GenericSwitchException as error:
            answers.append({"error": type(error).__name__, "text": str(error)})
    return answers


for line in sys.stdin:
    print(json.dumps(answers_to(*json.loads(line))), flush=True)
