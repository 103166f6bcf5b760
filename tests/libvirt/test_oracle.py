"""The semantics are those of libvirt's own test driver: the same calls, the same codes."""

from __future__ import annotations

import pytest

from .definitions import ethernet
from .host import DENIED, INVALID, INVALID_ARG, OK, Client, Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

ORACLE = "test:///default"

# Connection, call, arguments, the code that both must give.
SCENARIO = [
    ("one", "changeCommit", [0], INVALID),
    ("one", "changeRollback", [0], INVALID),
    # Flags are refused before the state is looked at.
    ("one", "changeBegin", [1], INVALID_ARG),
    ("one", "changeCommit", [1], INVALID_ARG),
    ("one", "changeRollback", [1], INVALID_ARG),
    ("one", "changeBegin", [0], OK),
    ("one", "changeBegin", [0], INVALID),
    ("two", "changeBegin", [0], INVALID),
    ("two", "changeBegin", [2], INVALID_ARG),
    ("one", "changeCommit", [1], INVALID_ARG),
    ("one", "changeRollback", [1], INVALID_ARG),
    ("one", "interfaceDefineXML", [ethernet("eth7")], OK),
    # Another connection ends it.
    ("two", "changeRollback", [0], OK),
    ("one", "changeRollback", [0], INVALID),
    ("two", "changeCommit", [0], INVALID),
    ("two", "changeBegin", [0], OK),
    ("two", "interfaceDefineXML", [ethernet("eth8")], OK),
    ("one", "changeCommit", [0], OK),
    ("one", "changeCommit", [0], INVALID),
    ("one", "changeRollback", [0], INVALID),
    # One that only reads may do nothing, whatever the state and the flags.
    ("reader", "changeBegin", [0], DENIED),
    ("reader", "changeCommit", [1], DENIED),
    ("reader", "changeRollback", [0], DENIED),
]


def play(client: Client, uri: str) -> tuple[list[int], list[str], set[str]]:
    """Codes and messages of the scenario, and which of its interfaces are defined in the end."""
    for connection in ("one", "two"):
        assert client(connection, "open", uri).code == OK
    assert client("reader", "openReadOnly", uri).code == OK
    answers = [client(name, call, *arguments) for name, call, arguments, _ in SCENARIO]
    defined = client("two", "listDefinedInterfaces").result
    return (
        [answer.code for answer in answers],
        [answer.message for answer in answers],
        {name for name in defined if name in ("eth7", "eth8")},
    )


@pytest.mark.parametrize("uri", ["qemu:///system", "interface:///system"])
def test_the_same_codes_as_the_test_driver(host: Host, uri: str) -> None:
    """Begin, commit and rollback in every state, with flags, by two connections and a reader."""
    codes, messages, defined = play(host.client(), uri)
    oracle_codes, oracle_messages, oracle_defined = play(host.client(), ORACLE)
    assert oracle_codes == [code for *_, code in SCENARIO]
    assert codes == oracle_codes
    assert defined == oracle_defined == {"eth8"}
    for code, ours, theirs in zip(codes, messages, oracle_messages):
        if code == INVALID:
            # The test driver's sentence is part of ours.
            sentence = theirs.partition("is not valid: ")[2]
            assert sentence.endswith(".")
            assert sentence in ours
