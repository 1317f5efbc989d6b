"""Compile the kernels where a C compiler is at hand; install without them where it is not.

The constants of ``tcptrace_fsm/kernels/layout.py`` are written, at build time, into ``layout.pxd`` as a C enum: that
is how ``rows[c + FIELD]`` becomes an address with a constant offset while the fields are named in one place only. The
smallest functions, called for every segment from several kernels, are written into ``.pxd`` files with their bodies:
that is how they become part of each kernel that calls them.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
KERNELS = ROOT / "tcptrace_fsm" / "kernels"
BUILD = "build/cython"
INLINE = ("plain", "sequence", "table")  # modules that are not compiled by themselves
COST = "the kernels stay uncompiled: every result is the same, at about a sixtieth of the speed"


def write_layout_pxd() -> None:
    """Write ``layout.pxd`` from the integer constants of ``layout.py``."""
    sys.path.insert(0, str(ROOT))
    try:
        from tcptrace_fsm.kernels import layout
    finally:
        sys.path.pop(0)
    values = {k: v for k, v in vars(layout).items() if isinstance(v, int) and k[0].isupper()}
    # Masks and times are 64 bits wide. As members of an enum they would be ints, and lose their upper half on the way.
    masks = {k: v for k, v in values.items() if k.startswith("M_") or k == "MILLISECOND"}
    too_wide = [k for k, v in values.items() if k not in masks and not -(2**31) < v < 2**31]
    if too_wide:
        raise ValueError(f"layout.py: {too_wide} do not fit a C int")
    # The -1 makes the enum's type signed with every compiler.
    lines = ["# Generated from layout.py by setup.py.", "cdef enum:", "    _SIGNED = -1"]
    lines += [f"    {k} = {int(v)}" for k, v in values.items() if k not in masks]
    lines += ["cdef extern from *:", '    """']
    lines += [f"    #define TCPTRACE_FSM_{k} {v}LL" for k, v in masks.items()]
    lines += ['    """']
    lines += [f'    const long long {k} "TCPTRACE_FSM_{k}"' for k in masks]
    text = "\n".join(lines) + "\n"
    write_changed(KERNELS / "layout.pxd", text)


def write_inline_pxd(name: str) -> None:
    """Write ``NAME.pxd`` from the functions of ``NAME.py``: arrays become pointers, numbers 64-bit integers."""
    types = {"int": "long long", "Words": "long long*"}
    lines = [f"# Generated from {name}.py by setup.py."]
    for node in ast.parse((KERNELS / f"{name}.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tcptrace_fsm."):
            lines.append(f"from {node.module} cimport *")
        if isinstance(node, ast.FunctionDef):
            arguments = ", ".join(f"{types[ast.unparse(a.annotation)]} {a.arg}" for a in node.args.args)
            lines.append(f"\ncdef inline long long {node.name}({arguments}) noexcept nogil:")
            lines += ["    " + line for part in node.body[1:] for line in ast.unparse(part).splitlines()]
    write_changed(KERNELS / f"{name}.pxd", "\n".join(lines) + "\n")


def write_changed(path: Path, text: str) -> None:
    """Write a file, unless it says that already: what depends on it need not be compiled again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def extensions() -> list[Extension]:
    """The kernels as C extensions, or none where Cython is missing or ``TCPTRACE_FSM_PURE`` is set."""
    if os.environ.get("TCPTRACE_FSM_PURE"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        print(f"tcptrace-fsm: no Cython; {COST}", file=sys.stderr)
        return []
    write_layout_pxd()
    for name in INLINE:
        write_inline_pxd(name)
    names = sorted(p.stem for p in KERNELS.glob("*.pxd") if p.stem not in {"layout", "memory", *INLINE})
    # Cython follows the .py and .pxd files (layout.pxd is written only when it changes); flags it does not see.
    generated = list((ROOT / BUILD).rglob("*.c"))
    stale = any(c.stat().st_mtime < Path(__file__).stat().st_mtime for c in generated)
    flags = [] if sys.platform == "win32" else ["-O3", "-g0", "-fwrapv", "-fno-strict-aliasing", "-w"]
    return cythonize(
        [
            Extension(
                f"tcptrace_fsm.kernels.{n}",
                [f"tcptrace_fsm/kernels/{n}.py"],
                depends=["setup.py"],
                extra_compile_args=flags,
                optional=True,
            )
            for n in names
        ],
        compiler_directives={
            "language_level": 3,
            "infer_types": True,  # locals become C integers; only signatures stand in the .pxd files
            "annotation_typing": False,  # annotations are for readers and mypy
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
        build_dir=BUILD,
        force=stale,
        quiet=True,
    )


class OptionalBuildExt(build_ext):
    """Build what can be built, on all cores; say what it costs when nothing can."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        try:
            super().run()
        except Exception as reason:  # no compiler, no headers: an install without kernels is still an install
            print(f"tcptrace-fsm: {reason}; {COST}", file=sys.stderr)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as reason:
            print(f"tcptrace-fsm: {ext.name}: {reason}; {COST}", file=sys.stderr)


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuildExt})
