"""Where and with which code was something measured? A figure in `results/` says both."""

import os
import platform
import subprocess
from pathlib import Path

import numpy as np


def machine() -> dict:
    """The processor, how many of its cores are ours, and the software that the figures and the times depend on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():  # Linux, where `platform` does not know the model
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
    }


def version(package: Path = Path(__file__).parent) -> dict:
    """The git commit of the package, and whether its files differ from it ("dirty"); None where git cannot tell."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", package, *arguments], capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package that is installed within somebody's repository is not of its commits.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "."))}
