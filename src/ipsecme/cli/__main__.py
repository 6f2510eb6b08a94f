"""``python -m ipsecme.cli`` is ``ipsecme``."""

from __future__ import annotations

from ipsecme.cli.main import main

main()
