"""The lab: hosts in network namespaces, links between them, peers, captures and a virtual machine.

Owns everything that a demonstration or an interoperability test needs around a daemon; the daemon
itself is started as its users start it. Nothing here is imported by the daemon.
"""

from __future__ import annotations
