"""The learned policy, its normalisers, and the Policy that plays its chunks."""

from understudy.agent.agent import Agent
from understudy.agent.chunked import Chunked
from understudy.agent.corrected import Corrected
from understudy.agent.ensemble import doubt, member_actions
from understudy.agent.files import load
from understudy.agent.normalize import Columns, Kind, Normalizer

__all__ = [
    "Agent",
    "Chunked",
    "Columns",
    "Corrected",
    "Kind",
    "Normalizer",
    "doubt",
    "load",
    "member_actions",
]
