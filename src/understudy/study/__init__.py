"""Studies: theory made visible. Each measures what a theorem predicts, and writes numbers and one page."""

from understudy.study.compounding import Compounding
from understudy.study.objectworld import Objectworld

__all__ = ["STUDIES", "Compounding", "Objectworld"]

STUDIES: dict[str, type[Compounding] | type[Objectworld]] = {
    "compounding": Compounding,
    "objectworld": Objectworld,
}
