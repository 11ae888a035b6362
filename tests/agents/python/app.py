"""An agent in Python, as the tests build it with componentize-py.

It calls a tool, sleeps, asks a person and waits for a signal, and looks at
Python's own clock and randomness on the way: all of it follows the journal.
"""

import json
import os
import socket
import time
from typing import Any

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports import agent
from wit_world.imports import host
from wit_world.imports.airlock_agent_types import Outcome, Outcome_Done
from wit_world.imports.airlock_tool_types import Error_Permanent, Want


def wait(handle: host.Handle) -> Any:
    """The answer of a request, once it is there."""
    with handle.subscribe() as pollable:
        pollable.block()
    match handle.answer():
        case Ok(answer):
            return json.loads(answer)
        case Err(error):
            raise Err(error)
    raise Err(Error_Permanent("no answer"))


def look() -> dict[str, Any]:
    return {"random": os.urandom(8).hex(), "now_ms": time.time_ns() // 1_000_000}


def reached() -> list[str]:
    """What Python's standard library reaches of the world: nothing."""
    found = ["a file"] if os.path.exists("/etc/passwd") else []
    try:
        socket.socket().connect(("127.0.0.1", 9))
        found.append("a socket")
    except Exception as error:
        print(f"no socket: {error!r}")
    return found


class Agent(exports.Agent):
    def about(self) -> agent.Purpose:
        schema = {
            "type": "object",
            "properties": {"key": {"type": "string"}},
            "required": ["key"],
        }
        wants = [Want("tools", '{ tool = "keeper/*" }', "To keep what it saw.", False)]
        return agent.Purpose("Looks, keeps, asks and waits.", json.dumps(schema), wants)

    def run(self, goal: str, input: str) -> Outcome:
        key = json.loads(input)["key"]
        before = look()
        print(f"begun with {before['random']}")
        kept = {"key": key, "value": before["random"]}
        wait(host.call("keeper/put", json.dumps(kept)))
        wait(host.sleep(30))
        time.sleep(0.03)
        asked = host.Question("Go on?", ["yes", "no"], json.dumps(before), None)
        decided = wait(host.ask(asked))
        told = wait(host.signal("go"))
        found = wait(host.call("keeper/get", json.dumps({"key": key})))
        outcome = {
            "goal": goal,
            "before": before,
            "after": look(),
            "choice": decided["choice"],
            "told": told,
            "found": found["value"],
            "reached": reached(),
        }
        return Outcome_Done(json.dumps(outcome))
