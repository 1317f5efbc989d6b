"""The compiled kernels once more, built so that the compiler's sanitizers watch them.

The kernels as users get them are built with ``-fwrapv``: what overflows is defined there. This build leaves that out,
and reports every overflow, every shift of or beyond what C defines, every index beyond an array of known size, with
the address sanitizer also every access outside an allocation. With clang, libFuzzer sees which branches are taken.

    python -m tests.fuzz.checked FOLDER [gcc|clang]
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from unittest import mock

HOME = Path(__file__).resolve().parents[2]
NAME = "tcptrace_fsm.kernels._compiled"
UNDEFINED = "signed-integer-overflow,shift,bounds,integer-divide-by-zero,null,alignment"
USUAL = ["-fPIC", "-g1", "-w", "-fno-strict-aliasing"]
COMPILERS = {
    # Ends at the first report, as does a test. For so few inputs, to optimise takes longer than it saves.
    "gcc": ["gcc", *USUAL, "-O0", f"-fsanitize={UNDEFINED}", f"-fno-sanitize-recover={UNDEFINED}"],
    # Address errors end it; the others are told once for each place, and it goes on.
    "clang": ["clang", *USUAL, "-O1", f"-fsanitize=address,fuzzer-no-link,{UNDEFINED}"],
}


def c_source() -> Path:
    """The C source of the kernels as they are now."""
    with mock.patch("setuptools.setup"):
        here = os.getcwd()
        os.chdir(HOME)
        try:
            setup = runpy.run_path(str(HOME / "setup.py"))
            (source,) = setup["translated"](*setup["EXTENSIONS"])
        finally:
            os.chdir(here)
    return HOME / source


def build(folder: Path, compiler: str = "gcc") -> Path:
    """Compile the kernels into ``folder``, unless they are there already; returns the extension's path."""
    source = c_source()
    command = COMPILERS[compiler]
    digest = hashlib.sha256(source.read_bytes() + " ".join(command).encode()).hexdigest()[:16]
    target = folder / f"{compiler}-{digest}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}.o")
        include = f"-I{sysconfig.get_paths()['include']}"
        subprocess.run([*command, include, "-c", str(source), "-o", str(temporary)], check=True)
        linked = target.with_suffix(f".{os.getpid()}.so")
        # The runtime that clang's sanitizers need is libFuzzer's, which is loaded before everything else.
        link = command if compiler == "gcc" else ["clang"]
        subprocess.run([*link, "-shared", str(temporary), "-o", str(linked)], check=True)
        temporary.unlink()
        linked.replace(target)
    return target


def load(extension: Path):
    """Load an extension in the place of the installed one. Before anything imports the package."""
    if "tcptrace_fsm" in sys.modules:
        raise RuntimeError("too late: the installed kernels are loaded already")
    spec = importlib.util.spec_from_file_location(NAME, extension)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    return module


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), *sys.argv[2:]))
