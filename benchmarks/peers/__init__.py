"""What you would use otherwise: our weights in other people's code, timed in turn with ours.

Every public module in this folder holds the `PEERS` of one package and one architecture. The
packages are imported only when a peer is built, so that one missing does not cost the others.
"""

import importlib
import pkgutil

from benchmarks.peers._peer import Peer


def find() -> list[Peer]:
    """Every peer there is, by architecture and name."""
    names = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    peers: list[Peer] = [peer for module in modules for peer in module.PEERS]
    return sorted(peers, key=lambda peer: (peer.arch, peer.impl))
