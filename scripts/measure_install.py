"""How much the light install takes on disk, and what each part of it costs.

    python scripts/measure_install.py

Builds the wheel, installs it into a new virtual environment with what constraints.txt says, and adds up the files of
each distribution, compiled ones included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZES = """
import json
from importlib.metadata import distributions
sizes = {}
for one in distributions():
    files = {one.locate_file(file).resolve() for file in one.files or []}
    sizes[one.name] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run(
            [sys.executable, "-m", "build", "--quiet", "--wheel", "--outdir", folder, ROOT], check=True, cwd=folder
        )
        (wheel,) = folder.glob("*.whl")
        venv.create(folder / "clean", with_pip=True)
        python = folder / "clean" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        before = sizes(python)  # pip comes with every environment
        words = ["-I", "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
        subprocess.run([python, *words], check=True)
        parts = {name: size for name, size in sizes(python).items() if name not in before}
        print(f"wheel of ranfer: {wheel.stat().st_size / 1e6:.1f} MB")
    for name, size in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"{name:28}{size / 1e6:8.1f} MB")
    print(f"{'all':28}{sum(parts.values()) / 1e6:8.1f} MB")


def sizes(python: Path) -> dict[str, int]:
    """Bytes on disk of each distribution of an environment."""
    return dict(
        json.loads(subprocess.run([python, "-I", "-c", SIZES], check=True, capture_output=True, text=True).stdout)
    )


if __name__ == "__main__":
    main()
