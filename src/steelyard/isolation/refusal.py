"""The finding that stands for a refused change of networks, from the refusal until the node is out of quarantine.

It is the memory of the refusal: until the node has Steelyard's mark, it joins no network, whoever asks for what.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Final

from steelyard.attention.model import Finding
from steelyard.errors import Refused
from steelyard.nouns import Node
from steelyard.store import Store

REFUSED: Final = "isolation.refused"
"""The reconciler that puts refused nodes into quarantine; its findings are the refusals."""
QUARANTINED: Final = "quarantined"
"""Key of the finding's evidence: whether the node has been put into quarantine since."""


def look(node: Node) -> str:
    """The command that shows what is so."""
    return f"steelyard isolation show {shlex.quote(node.label)}"


def refusal_of(store: Store, node: Node) -> Finding | None:
    """The node's, while it is open."""
    found = (each.finding for each in store.findings.by(REFUSED))
    return next((finding for finding in found if finding.subject == f"node:{node.id}"), None)


def is_marked(finding: Finding) -> bool:
    return finding.evidence.get(QUARANTINED) is True


def check_may_join(store: Store, node: Node) -> None:
    """Raises `Refused` for a node that was refused and has not been in quarantine since: Nova's release would have it
    cleaned and offered again before anybody could write the mark."""
    finding = refusal_of(store, node)
    if finding is not None and not is_marked(finding):
        raise Refused(f"It is on its way into quarantine. {finding.reason}", code="flip_refused", next=look(node))


def note_mark(store: Store, node: Node) -> None:
    """The node is in quarantine now, whoever put it there: a release may have it join networks again."""
    finding = refusal_of(store, node)
    if finding is not None and not is_marked(finding):
        evidence = {**finding.evidence, QUARANTINED: True}
        next = f"steelyard node release {shlex.quote(node.label)}"
        store.findings.put(REFUSED, replace(finding, evidence=evidence, next=next))
