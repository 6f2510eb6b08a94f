"""IKEv2 and IPsec in Python: a pure engine, data planes, a daemon and a command line."""

from __future__ import annotations

__version__ = "0.1.0"
