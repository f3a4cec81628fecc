"""`steelyard-contrail-sync`: compare Neutron and the controller now, and repair what differs.

    steelyard-contrail-sync --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini

Says each thing in a line. `--dry-run` changes nothing. Exits 0 when both agree at the end, 1 when something could not
be repaired (or, with --dry-run, when anything differs), 2 when the controller does not answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from neutron.common import config
from oslo_config import cfg

PAUSE = 5.0
"""Seconds between the rounds in which what only the controller has is seen: what is being made is done by then."""

_OPTIONS = [
    cfg.BoolOpt("dry-run", default=False, help="Say what differs, and change nothing."),
    cfg.FloatOpt("pause", default=PAUSE, min=0.0, help="Seconds between the two rounds."),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    config.register_common_config_options()
    cfg.CONF.register_cli_opts(_OPTIONS)
    config.init(list(sys.argv[1:] if arguments is None else arguments))
    config.setup_logging()
    config.set_config_defaults()
    sys.exit(_compare(cfg.CONF.dry_run, cfg.CONF.pause))


def _compare(dry_run: bool, pause: float) -> int:
    from neutron import manager
    from neutron_lib import context

    from steelyard_neutron.contrail.client import Unreachable
    from steelyard_neutron.contrail.comparing import Comparison, Outcome
    from steelyard_neutron.contrail.parts import parts

    manager.init()
    comparison = Comparison(parts(), repair=not dry_run)
    admin = context.get_admin_context()

    def one_round() -> Outcome:
        outcome = comparison.round(admin)
        for word, lines in (("repaired", outcome.repaired), ("differs" if dry_run else "not repaired", outcome.failed)):
            for line in lines:
                print(f"{word}: {line}")
        return outcome

    try:
        last = one_round()
        if last.suspected:
            time.sleep(pause)
            last = one_round()
        if not dry_run and not last.agrees:
            last = one_round()
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 2
    if not (last.failed or last.suspected):
        print("Neutron and the controller agree")
        return 0
    return 1
