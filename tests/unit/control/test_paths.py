from __future__ import annotations

import pytest

from ipsecme.control import DOWN, UP, connection_path, default_control_path


@pytest.mark.parametrize(
    ("environment", "uid", "expected"),
    [
        ({}, 0, "/run/ipsecme/control.sock"),
        ({}, 1000, "/run/user/1000/ipsecme/control.sock"),
        ({"XDG_RUNTIME_DIR": "/x"}, 1000, "/x/ipsecme/control.sock"),
        ({"XDG_RUNTIME_DIR": "/x"}, 0, "/run/ipsecme/control.sock"),
        ({"RUNTIME_DIRECTORY": "/run/one:/run/two"}, 0, "/run/one/control.sock"),
        ({"IPSECME_CONTROL": "/c", "RUNTIME_DIRECTORY": "/r"}, 0, "/c"),
        ({"IPSECME_CONTROL": ""}, 0, "/run/ipsecme/control.sock"),
    ],
)
def test_the_socket_is_where_both_sides_expect_it(
    environment: dict[str, str], uid: int, expected: str
) -> None:
    assert default_control_path(environment, uid) == expected


def test_names_cannot_leave_their_place_in_a_path() -> None:
    assert connection_path(UP, "office") == "/v1/connections/office/up"
    assert connection_path(DOWN, "../a b/{name}") == (
        "/v1/connections/..%2Fa%20b%2F%7Bname%7D/down"
    )
