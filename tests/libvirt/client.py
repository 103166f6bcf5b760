"""Runs in a Debian of the tests: a call in each line of its input, its result in one of its output.

A call is [connection, name, arguments].  Calls of netcf_py.libvirt begin with "vir".
"""

from __future__ import annotations

import json
import sys
from typing import Any

import libvirt

connections: dict[str, Any] = {}


def call(connection: str, name: str, arguments: list[Any]) -> Any:
    if name in ("open", "openReadOnly"):
        connections[connection] = getattr(libvirt, name)(*arguments)
        return None
    if name.startswith("vir"):
        import netcf_py.libvirt

        # What is no open connection is an URI.
        return getattr(netcf_py.libvirt, name)(connections.get(connection, connection), *arguments)
    if name == "undefine":
        return connections[connection].interfaceLookupByName(*arguments).undefine()
    result = getattr(connections[connection], name)(*arguments)
    return result.name() if isinstance(result, libvirt.virInterface) else result


libvirt.registerErrorHandler(lambda *_: None, None)
for line in sys.stdin:
    answer: dict[str, Any] = {"result": None, "code": 0, "message": "", "kind": ""}
    try:
        answer["result"] = call(*json.loads(line))
    except Exception as error:
        answer["kind"] = type(error).__name__
        answer["message"] = str(error)
        if isinstance(error, libvirt.libvirtError):
            answer["code"] = error.get_error_code()
    print(json.dumps(answer), flush=True)
