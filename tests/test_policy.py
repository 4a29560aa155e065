"""Which weights a role speaks with."""

import hashlib

import pytest

from counterpoint.adapter import digest
from counterpoint.errors import ConfigError
from counterpoint.policy import routing

ROLES = ("generator", "critic", "aggregator")
ONE_SLOT = dict.fromkeys(ROLES, 1)


def shape(routes):
    return [(policy.name, policy.roles) for policy in routes.policies]


def test_shared_is_one_policy_for_all_roles():
    assert shape(routing("shared", ONE_SLOT)) == [("shared", ROLES)]


def test_isolated_is_a_policy_a_role():
    assert shape(routing("isolated", ONE_SLOT)) == [(role, (role,)) for role in ROLES]


def test_a_table_says_which_roles_share():
    routes = routing({"aggregator": "judge", "critic": "judge", "generator": "solver"}, ONE_SLOT)
    assert routes.policy_of == {"generator": "solver", "critic": "judge", "aggregator": "judge"}
    assert shape(routes) == [("solver", ("generator",)), ("judge", ("critic", "aggregator"))]


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        ("isolatd", r"unknown policies\.sharing 'isolatd'; did you mean 'isolated'\? .*or a table of role = policy"),
        ({"generator": "a", "critic": "a"}, "names no policy for role 'aggregator'"),
        ({"generator": "a", "critic": "a", "agregator": "a"}, r"unknown role 'agregator'; did you mean 'aggregator'\?"),
        ({"generator": "a/b", "critic": "a", "aggregator": "a"}, "policy 'a/b' is not a valid name"),
        ({"generator": "..", "critic": "a", "aggregator": "a"}, r"policy '\.\.' is not a valid name"),
        ({"generator": "", "critic": "a", "aggregator": "a"}, "policy '' is not a valid name"),
        ({"generator": "a\n", "critic": "a", "aggregator": "a"}, "is not a valid name"),
        ({}, "names no policy for role 'generator'"),
    ],
)
def test_a_sharing_that_cannot_be_is_refused(sharing, message):
    with pytest.raises(ConfigError, match=message):
        routing(sharing, ONE_SLOT)


def test_a_digest_depends_on_names_and_values_and_not_on_their_order():
    known = digest([("a", b"1"), ("b", b"2")])
    assert known == hashlib.sha256(b"a\x001b\x002").hexdigest()
    assert digest([("b", b"2"), ("a", b"1")]) == known
    others = [[("a", b"1")], [("a", b"2"), ("b", b"1")], [("a", b"1"), ("c", b"2")], [("a", b"1"), ("b", b"3")]]
    assert known not in {digest(other) for other in others}
