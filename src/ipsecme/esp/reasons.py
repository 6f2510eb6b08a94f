"""Why a packet was dropped (RFC 4303, section 4: the auditable events, and more)."""

from __future__ import annotations

from ipsecme.base import OpenIntEnum

__all__ = ["DropReason"]


class DropReason(OpenIntEnum):
    """The reasons, as codes that go into counters. Their names are stable."""

    # inbound, in the order of the checks
    UNKNOWN_SPI = 1  # no SA has this SPI
    BAD_LENGTH = 2  # shorter than the algorithms need, or not whole cipher blocks
    STALE = 3  # left of the anti-replay window
    REPLAYED = 4  # seen before
    BAD_ICV = 5  # forged, damaged, or sealed with other keys
    BAD_PADDING = 6  # the pad length or the padding contradicts RFC 4303, section 2.4
    DUMMY = 7  # next header 59: meant to be discarded (section 2.6)
    BAD_NEXT_HEADER = 8  # neither IPv4 nor IPv6 in tunnel mode; a fragment in transport mode
    MALFORMED_PACKET = 9  # the inner headers contradict themselves; inbound and outbound
    WRONG_SELECTORS = 10  # outside the SA's traffic selectors (RFC 4301, section 5.2)
    CONGESTION = 11  # marked "congestion experienced" on its way, and unable to tell (RFC 6040)
    # outbound
    NO_POLICY = 12  # no SA takes the packet
    SEQUENCE_EXHAUSTED = 13  # the SA has used all its sequence numbers
    UNFIT_HEADER = 16  # transport mode: options or extension headers that cannot travel outside
    INCOMPLETE = 17  # transport mode: a fragment of a datagram that did not become whole
    # around the engine
    SEND_REFUSED = 14  # the system refused to send the datagram
    DELIVERY_REFUSED = 15  # the system refused to take the inner packet
