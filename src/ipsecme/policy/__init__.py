"""The databases and decisions of RFC 4301: selectors, proposals, and the values data planes
take.
"""

from __future__ import annotations
