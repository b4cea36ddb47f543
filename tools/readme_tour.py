"""Write what the README's tour prints into the README: run its commands in an empty folder and paste what they say.

Blocks stand between `<!-- tour:NAME -->` and `<!-- /tour:NAME -->`. Their commands are kept, their output is replaced.
Run it when the output of a command changed: `.venv/bin/python tools/readme_tour.py`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- tour:(\w+) -->\n```console\n)(.*?)(```\n<!-- /tour:\2 -->)", re.DOTALL)


def main() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STREAMFLOW_")}
    environment = plain | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "120"}
    with tempfile.TemporaryDirectory() as scratch:

        def run(block: re.Match[str]) -> str:
            told = ""
            for line in block[3].splitlines():
                if not line.startswith("$ "):
                    continue
                done = subprocess.run(
                    ["sh", "-c", f"exec 2>&1; {line[2:]}"],
                    cwd=scratch, env=environment, capture_output=True, text=True, check=False, timeout=120,
                )  # fmt: skip
                if done.returncode != 0:
                    raise SystemExit(f"{line}: exit code {done.returncode}\n{done.stdout}")
                told += f"{line}\n{done.stdout}"
            return f"{block[1]}{told}{block[4]}"

        README.write_text(BLOCK.sub(run, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
