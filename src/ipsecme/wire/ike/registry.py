"""Which class reads which payload type."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ipsecme.wire.ike.config import ConfigPayload
from ipsecme.wire.ike.delete import DeletePayload
from ipsecme.wire.ike.eap import EapPayload
from ipsecme.wire.ike.identity import IdentityPayload
from ipsecme.wire.ike.notify import NotifyPayload
from ipsecme.wire.ike.sa import SaPayload
from ipsecme.wire.ike.simple import (
    AuthPayload,
    CertPayload,
    CertReqPayload,
    KePayload,
    NoncePayload,
    VendorIdPayload,
)
from ipsecme.wire.ike.ts import TsPayload
from ipsecme.wire.numbers import PayloadType

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.base import Reader
    from ipsecme.wire.ike.payload import Payload

__all__ = ["DECODERS"]

_T = PayloadType

DECODERS: dict[int, Callable[[Reader], Payload]] = {
    _T.SA: SaPayload.decode,
    _T.KE: KePayload.decode,
    _T.IDi: partial(IdentityPayload.decode, role=_T.IDi),
    _T.IDr: partial(IdentityPayload.decode, role=_T.IDr),
    _T.CERT: CertPayload.decode,
    _T.CERTREQ: CertReqPayload.decode,
    _T.AUTH: AuthPayload.decode,
    _T.NONCE: NoncePayload.decode,
    _T.NOTIFY: NotifyPayload.decode,
    _T.DELETE: DeletePayload.decode,
    _T.VENDOR_ID: VendorIdPayload.decode,
    _T.TSi: partial(TsPayload.decode, role=_T.TSi),
    _T.TSr: partial(TsPayload.decode, role=_T.TSr),
    _T.CP: ConfigPayload.decode,
    _T.EAP: EapPayload.decode,
}
