"""The daemon's numbers as Prometheus reads them."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from ipsecme.daemon.metrics import metrics_text
from support.fake_daemon import STATUS


def samples() -> dict[tuple[str, tuple[str, ...]], float]:
    """Return all samples by name and label values, in the order of the labels' names."""
    reply = replace(
        STATUS, ike_counters={"datagrams_in": 7, "cookies_asked": 3, "dropped_half_open_limit": 2}
    )
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics_text(reply).decode())
        for sample in family.samples
    }


def test_what_is_dropped_is_counted_by_reason_and_the_rest_by_event() -> None:
    found = samples()
    assert found["ipsecme_ike_events_total", ("cookies_asked",)] == 3
    assert found["ipsecme_ike_dropped_total", ("half_open_limit",)] == 2
    assert found["ipsecme_packet_dropped_total", ("no_policy",)] == 12
    assert found["ipsecme_packet_events_total", ("packets_in",)] == 1234


def test_the_limits_stand_beside_what_is_in_use() -> None:
    found = samples()
    assert found["ipsecme_half_open_ike_sas", ()] == 0
    assert found["ipsecme_half_open_ike_sas_limit", ()] == 5000
    assert found["ipsecme_ike_sas", ()] == 2
    assert found["ipsecme_ike_sas_limit", ()] == 50_000


def test_connections_and_their_child_sas() -> None:
    found = samples()
    assert found["ipsecme_connection_up", ("office",)] == 1
    assert found["ipsecme_connection_up", ("branch",)] == 0
    assert found["ipsecme_rekeys_total", ("office", "child")] == 4
    assert found["ipsecme_leased_addresses", ("office",)] == 0
    child = STATUS.connections[0].ike_sas[0].children[0]
    key = (child.name, "office", "in", child.inbound_spi)
    assert found["ipsecme_child_sa_bytes_total", key] == child.bytes_in
    assert found["ipsecme_child_sa_packets_total", key] == child.packets_in


def test_an_address_that_two_ike_sas_of_a_peer_have_counts_once() -> None:
    office = STATUS.connections[0]
    (sa,) = office.ike_sas
    sas = (replace(sa, leased=("10.9.0.1", "fd00:9::1")), replace(sa, leased=("10.9.0.1",)))
    reply = replace(STATUS, connections=(replace(office, ike_sas=sas),))
    (family,) = [
        family
        for family in text_string_to_metric_families(metrics_text(reply).decode())
        if family.name == "ipsecme_leased_addresses"
    ]
    assert [sample.value for sample in family.samples] == [2]
