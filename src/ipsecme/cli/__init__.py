"""The command line: one file for each command, and what they share.

Owns what people type and read. Everything that takes long to import is imported by the command
that needs it, so that the rest starts fast.
"""

from __future__ import annotations
