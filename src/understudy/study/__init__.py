"""Studies: theory made visible. Each measures what a theorem predicts, and writes numbers and one page."""

from understudy.study.compounding import Compounding

__all__ = ["STUDIES", "Compounding"]

STUDIES: dict[str, type[Compounding]] = {"compounding": Compounding}
