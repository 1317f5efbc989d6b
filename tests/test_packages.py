"""What is built says what is in it: wheels with and without the extension, and the container."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILDS = all(importlib.util.find_spec(name) for name in ("Cython", "setuptools", "pip"))


@pytest.mark.extra
@pytest.mark.skipif(not BUILDS, reason="needs pip, setuptools and Cython")
def test_a_wheel_without_the_extension_is_for_every_machine(tmp_path):
    """Otherwise pip would take it for one with compiled kernels, and keep it."""
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "tcptrace_fsm", tree / "tcptrace_fsm", ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy2(ROOT / name, tree)
    if (ROOT / "build" / "cython").is_dir():  # what has been made of the same kernels need not be made again
        shutil.copytree(ROOT / "build" / "cython", tree / "build" / "cython")
    made = tmp_path / "made"
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(made),
        str(tree),
    ]
    environment = {**os.environ, "CC": "false"}
    environment.pop("PYTHONPATH", None)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (wheel,) = made.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as inside:
        (tag,) = [name for name in inside.namelist() if name.endswith(".dist-info/WHEEL")]
        text = inside.read(tag).decode()
        assert "Root-Is-Purelib: true" in text
        assert not [name for name in inside.namelist() if name.endswith(".so")]
        assert (
            "tcptrace_fsm/kernels/track.py" in inside.namelist() or "tcptrace_fsm/kernels/walk.py" in inside.namelist()
        )


def test_the_container_is_short_and_refuses_uncompiled_kernels():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25
    text = "\n".join(lines)
    assert "grep 'kernels compiled'" in text
    assert 'ENTRYPOINT ["tcptrace-fsm"]' in text
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", "build", "**/*.so"} <= set(ignored)
