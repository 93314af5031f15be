"""The gate in process: the server's decision, asked in a worker or an application of one's own.

    gate = Gate.from_config("consentry.toml")
    gate.add("warehouse", write_to_warehouse)
    result = gate.push(event)

``push`` hands an event to the destinations that it may go to, and says what became of each.
``decide`` only answers. ``record`` keeps a choice in this process's memory.
"""

from consentry.client.deciding import GateFull
from consentry.client.gate import Gate
from consentry.client.result import Counts, Decisions, Refused, Result

__all__ = ["Counts", "Decisions", "Gate", "GateFull", "Refused", "Result"]
