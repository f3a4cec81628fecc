"""`steelyard-contrail-sync`: compare Neutron and the controller now, and repair what differs.

    steelyard-contrail-sync --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini

Says each thing in a line, after it was so in two looks; what only the controller has is removed when it was there for a
minute, so the command takes longer then. `--dry-run` changes nothing. Exits 0 when both agree at the end, 1 when
something could not be repaired (or, with --dry-run, when anything differs), 2 when the controller does not answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from neutron.common import config
from oslo_config import cfg

from steelyard_neutron.contrail.comparing import REMOVED_AFTER, Comparison, Outcome

PAUSE = 5.0
"""Seconds between two looks."""

_OPTIONS = [
    cfg.BoolOpt("dry-run", default=False, help="Say what differs, and change nothing."),
    cfg.FloatOpt("pause", default=PAUSE, min=0.0, help="Seconds between two looks."),
    cfg.FloatOpt(
        "removed-after",
        default=REMOVED_AFTER,
        min=0.0,
        help="Seconds for which something must have been at the controller alone before it is removed.",
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    config.register_common_config_options()
    cfg.CONF.register_cli_opts(_OPTIONS)
    config.init(list(sys.argv[1:] if arguments is None else arguments))
    config.setup_logging()
    config.set_config_defaults()
    sys.exit(_compare(cfg.CONF.dry_run, cfg.CONF.pause, cfg.CONF.removed_after))


def _compare(dry_run: bool, pause: float, removed_after: float) -> int:
    from neutron import manager
    from neutron_lib import context

    from steelyard_neutron.contrail.client import Unreachable
    from steelyard_neutron.contrail.parts import parts

    manager.init()
    comparison = Comparison(parts(), repair=not dry_run, removed_after=removed_after)
    admin = context.get_admin_context()

    def one_round() -> Outcome:
        outcome = comparison.round(admin)
        for word, lines in (("repaired", outcome.repaired), ("differs" if dry_run else "not repaired", outcome.failed)):
            for line in lines:
                print(f"{word}: {line}")
        return outcome

    try:
        last = one_round()
        while last.suspected or (last.repaired and not last.failed):
            time.sleep(pause)
            last = one_round()
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 2
    if not last.failed:
        print("Neutron and the controller agree")
        return 0
    return 1
