"""2,000 hostile dataset folders: what reading each one comes to, and what it takes.

    python benchmarks/native_fuzz.py --json-out benchmarks/results/native_fuzz.json

The cases are those of tests/test_native_fuzz.py, which says what is done to the folders. "read" means with
the values that were recorded, "refused" an error in one line; anything else is wrong: other values, another
exception, a crash, over 5 s of CPU time, over 1 GiB of memory, or a change outside the folder.
"""

from __future__ import annotations

import sys

from common import ROOT, arguments, emit

sys.path.insert(0, str(ROOT / "tests"))

from test_native_fuzz import campaign


def main() -> None:
    """Runs the cases, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--n", type=int, default=2000, help="how many cases")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    args = parser.parse_args()
    found = campaign(args.first, args.n)
    wrong = args.n - sum(found["outcomes"].get(k, 0) for k in ("read", "refused"))
    verdict = {"wrong": float(wrong), "target": "<= 0", "met": wrong == 0}
    record = {"unit": "folders", "setting": {"cases": args.n, "first": args.first}} | found
    emit(record | {"verdict": verdict}, args.json_out)


if __name__ == "__main__":
    main()
