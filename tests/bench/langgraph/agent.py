"""The peer of the `react` benchmark: LangGraph's own ReAct agent with its SQLite
checkpointer, over the model server whose base URL is given.

    agent.py BASE_URL RUNS DATABASE

Prints how its database is set, then the seconds of each run, a line each.
"""

import sqlite3
import sys
import time
import warnings

warnings.filterwarnings("ignore")

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.prebuilt import create_react_agent


@tool
def echo(message: str) -> str:
    """Gives back what it is given."""
    return message


def main() -> None:
    base_url, runs, database = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    model = ChatOpenAI(model="small", base_url=base_url, api_key="none", max_retries=0)
    saver = SqliteSaver(sqlite3.connect(database, check_same_thread=False))
    saver.setup()
    pragma = lambda name: saver.conn.execute(f"pragma {name}").fetchone()[0]
    print(f"journal_mode {pragma('journal_mode')}, synchronous {pragma('synchronous')}", flush=True)
    agent = create_react_agent(model, [echo], checkpointer=saver)
    for run in range(runs):
        begun = time.perf_counter()
        config = {"configurable": {"thread_id": str(run)}, "recursion_limit": 200}
        state = agent.invoke({"messages": [("user", "Echo each step.")]}, config)
        seconds = time.perf_counter() - begun
        assert state["messages"][-1].content == "done", state["messages"][-1]
        print(f"{seconds} {len(state['messages'])}", flush=True)


main()
