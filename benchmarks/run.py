"""`./dev bench`: every question in turn, then the page. One question a file; results go to benchmarks/results as JSON.

./dev bench                    # everything that docs/benchmarks.md shows: under forty minutes on two quiet cores
./dev bench keyed latency      # only these
./dev bench --extras           # those as well that take long or are about one part: memory, state, waits, …
./dev bench --compare FOLDER   # the ratios of the results beside those of another full run
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import compare

HERE = Path(__file__).parent
QUESTIONS = (
    "start",
    "embedded",
    "kafka",
    "ten",
    "functions",
    "sizes",
    "enrich",
    "keyed",
    "nexmark",
    "latency",
    "scale",
)
EXTRAS = (
    "delay", "executions", "fair", "faust_overhead", "memory", "park", "slots", "state_restore",
    "state_size", "waits",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join((*QUESTIONS, *EXTRAS))}")
    parser.add_argument("--extras", action="store_true")
    parser.add_argument("--compare", type=Path, metavar="FOLDER", help="measure nothing; compare with these results")
    args = parser.parse_args()
    if args.compare is not None:
        return compare.told(HERE / "results", args.compare)
    if unknown := [name for name in args.questions if name not in (*QUESTIONS, *EXTRAS)]:
        parser.error(f"there is no question {unknown[0]!r}; there are {', '.join((*QUESTIONS, *EXTRAS))}")
    asked = args.questions or [*QUESTIONS, *(EXTRAS if args.extras else ())]
    print(f"{len(asked)} questions: {', '.join(asked)}", flush=True)
    took = {name: answered(name) for name in asked}
    for name, (seconds, code) in took.items():
        print(f"{seconds:8.1f} s  {name}{'' if code == 0 else f': FAILED with {code}'}")
    print(f"{sum(seconds for seconds, _ in took.values()):8.1f} s  together")
    written = subprocess.run([sys.executable, str(HERE / "page.py")], check=False).returncode
    return 1 if written or any(code for _, code in took.values()) else 0


def answered(name: str) -> tuple[float, int]:
    """(seconds of wall time, exit code)."""
    file = HERE / f"{name}.py"
    print(f"== {name}: {first_line(file)}", flush=True)
    begun = time.perf_counter()
    code = subprocess.run([sys.executable, str(file)], check=False).returncode
    return time.perf_counter() - begun, code


def first_line(file: Path) -> str:
    return file.read_text().split('"""')[1].strip().split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
