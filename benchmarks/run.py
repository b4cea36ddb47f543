"""`./dev bench`: every benchmark in turn. One question a file; results go to benchmarks/results as JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUESTIONS = ("embedded.py", "kafka.py", "keyed.py", "nexmark.py", "faust_overhead.py", "memory.py", "waits.py")


def main() -> int:
    failed = 0
    for question in QUESTIONS:
        print(f"== {question}: {first_line(HERE / question)}", flush=True)
        failed += subprocess.run([sys.executable, str(HERE / question), *sys.argv[1:]], check=False).returncode != 0
    return 1 if failed else 0


def first_line(file: Path) -> str:
    return file.read_text().split('"""')[1].strip().split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
