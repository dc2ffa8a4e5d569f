"""The textbook chapter's classes with the chapter's signatures, a thin face over the library.

A program written with the chapter runs when its class definitions are replaced by an import from here. Where
the chapter's own definitions do not do what their descriptions say, these do: `cloning`, `dagger`, `inverse`
and `adversarial` say where.
"""

from __future__ import annotations

from understudy.textbook.adversarial import GAIL
from understudy.textbook.cloning import BCPolicy, BehavioralCloning, Demonstration, DemonstrationDataset
from understudy.textbook.dagger import DAgger, Expert, HGDAgger
from understudy.textbook.inverse import MaxEntIRL, RewardNetwork

__all__ = [
    "GAIL",
    "BCPolicy",
    "BehavioralCloning",
    "DAgger",
    "Demonstration",
    "DemonstrationDataset",
    "Expert",
    "HGDAgger",
    "MaxEntIRL",
    "RewardNetwork",
]
