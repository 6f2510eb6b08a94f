"""CRLs from files: read when they have changed, and again usable at once when they were replaced.

A file that cannot be used counts as no news; `strict` connections then refuse, and the log says
why.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.crypto.certificate_revocation import Crl, CrlUnfit
from ipsecme.daemon.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CrlFiles"]

_LARGEST = 16 << 20


class _Known(NamedTuple):
    stamp: tuple[int, int]
    crl: Crl | None


class CrlFiles:
    """The CRL files of all connections, each parsed once for each of its versions."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def read(self, names: Iterable[str]) -> list[Crl]:
        """Return what the files hold now."""
        found = (self._current(name) for name in names)
        return [crl for crl in found if crl is not None]

    def _current(self, name: str) -> Crl | None:
        path = Path(name)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._known.get(name)
            if known is not None and known.stamp == stamp:
                return known.crl
            crl = _load(path)
        except OSError as error:
            self._known.pop(name, None)
            log.warning("crl_unusable", msg=f"{name} cannot be read: {error.strerror}", file=name)
            return None
        except CrlUnfit as error:
            log.warning("crl_unusable", msg=f"{name}: {error}", file=name)
            crl = None
        self._known[name] = _Known(stamp, crl)
        return crl


def _load(path: Path) -> Crl:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise CrlUnfit(f"the CRL is larger than {_LARGEST >> 20} MiB")
    return Crl.decode(content)
