"""What to try when something failed, by the reason words of `ike.events`."""

from __future__ import annotations

__all__ = ["HINTS", "hint"]

HINTS: dict[str, str] = {
    "unreachable": (
        "check that the peer runs and listens, that its address is right, and that UDP 500 and "
        "4500 pass every firewall in between"
    ),
    "timeout": "the peer began and did not go on; look into its log, and let UDP 4500 pass",
    "no_proposal_chosen": (
        "compare ike_proposals and esp_proposals with the peer's; both ends need one algorithm "
        "of each kind in common"
    ),
    "authentication_failed": (
        "compare the pre-shared key, local_id and remote_id with the peer's; its local_id must "
        "be our remote_id and the other way round"
    ),
    "ts_unacceptable": (
        "compare local_ts and remote_ts with the peer's; its local_ts must overlap our remote_ts "
        "and the other way round"
    ),
    "internal_address_failure": (
        "the gateway has no address to give; enlarge its pool, or have the families of "
        "request_addresses in it"
    ),
    "failed_cp_required": (
        "the gateway lends addresses and wants to be asked for one; set request_addresses at the "
        "client"
    ),
    "invalid_syntax": "the two programs do not understand each other; capture the exchange",
    "refused": "the peer said no; its log says why",
    "install_failed": "the data plane could not take the Child SA; see the detail",
    "expired": "rekeying did not succeed in time; check that the peer still answers",
    "internal": "this is a fault of the program; please report it with the log",
}


def hint(reason: str) -> str:
    """Return what to try, or nothing where there is nothing to do."""
    return HINTS.get(reason, "")
