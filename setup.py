"""Compile the kernels where a C compiler is at hand; install without them where it is not.

All kernels become one extension, ``tcptrace_fsm/kernels/_compiled``: its source is written from theirs at build time
(:func:`source_text`), and compiled once. In one C file the compiler sees which function calls which, and what Cython
adds to each extension is compiled once instead of ten times. To add a kernel is to add its ``.py`` file.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import runpy
import sys
import sysconfig
import zlib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
KERNELS = ROOT / "tcptrace_fsm" / "kernels"
BUILD = "build/cython"
SOURCE = f"{BUILD}/_compiled.pyx"
# memory becomes the lines of HEAD, records become structs and the lines of RECORDS, the folder layout C constants
NOT_COMPILED = {"__init__", "memory", "records"}
COST = "the kernels stay uncompiled: every result is the same, at about a sixtieth of the speed"

TYPES = {"int": "long long", "None": "void", "Words": "long long*", "Buffer": "const unsigned char*"}
ARRAYS = {"Words": "long long[::1]", "Buffer": "const unsigned char[::1]"}  # the same as Python passes them
HOLDERS: dict[str, dict[str, str]] = {}  # records that Python passes as objects: the kind of each field

HEAD = '''
cdef extern from *:
    """
    #include <string.h>
    #if defined(__GNUC__) && !defined(__clang__)
    #define TCPTRACE_FSM_UNROLL _Pragma("GCC unroll 4")
    #else
    #define TCPTRACE_FSM_UNROLL
    #endif
    #if defined(__GNUC__) || defined(__clang__)
    #define tcptrace_fsm_prefetch(address) __builtin_prefetch(address)
    #else
    #define tcptrace_fsm_prefetch(address) ((void)0)
    #endif
    static long long tcptrace_fsm_fold(long long x, long long y) {
        unsigned long long a = (unsigned long long) x, b = (unsigned long long) y;
    #ifdef __SIZEOF_INT128__
        unsigned __int128 product = (unsigned __int128) a * b;
        return (long long) ((unsigned long long) product ^ (unsigned long long) (product >> 64));
    #else
        unsigned long long low = (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
        unsigned long long middle = (a >> 32) * (b & 0xFFFFFFFF) + (low >> 32);
        unsigned long long other = (a & 0xFFFFFFFF) * (b >> 32) + (middle & 0xFFFFFFFF);
        return (long long) (a * b ^ ((a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32)));
    #endif
    }
    static inline long long tcptrace_fsm_uint16(const unsigned char* at) {
        return (long long) ((unsigned int) at[0] << 8 | at[1]);
    }
    /* Compilers make one load of each of these, and one instruction that turns the bytes around. */
    static inline long long tcptrace_fsm_uint32(const unsigned char* at) {
        unsigned int high = (unsigned int) at[0] << 24 | (unsigned int) at[1] << 16;
        return (long long) (high | (unsigned int) at[2] << 8 | at[3]);
    }
    static inline long long tcptrace_fsm_little32(const unsigned char* at) {
        unsigned int high = (unsigned int) at[3] << 24 | (unsigned int) at[2] << 16;
        return (long long) (high | (unsigned int) at[1] << 8 | at[0]);
    }
    /* Compilers make one instruction of it. */
    static inline long long tcptrace_fsm_rotated(long long x, long long by) {
        unsigned int low = (unsigned int) x;
        return (long long) (low << by | low >> (32 - by));
    }
    /* RFC 1071 section 2: the sum may be taken in any byte order, in larger pieces, and folded at the end. */
    static inline long long tcptrace_fsm_ones_sum(const unsigned char* at, long long count) {
        unsigned long long low = 0, high = 0, word;
        unsigned int half;
        unsigned short pair, one = 1;
        unsigned char rest[2] = {0, 0};
        long long words = count >> 3;
        /* Whole words into one, their upper halves into the other, so that what overflowed is known. */
        TCPTRACE_FSM_UNROLL
        for (long long i = 0; i < words; i++) {
            memcpy(&word, at + 8 * i, 8);
            low += word;
            high += word >> 32;
        }
        low = low - (high << 32) + high;
        at += 8 * words;
        if (count & 4) {
            memcpy(&half, at, 4);
            low += half;
            at += 4;
        }
        if (count & 2) {
            memcpy(&pair, at, 2);
            low += pair;
            at += 2;
        }
        if (count & 1) {
            rest[0] = *at;
            memcpy(&pair, rest, 2);
            low += pair;
        }
        low = (low & 0xFFFFFFFF) + (low >> 32);
        low = (low & 0xFFFF) + (low >> 16);
        low = (low & 0xFFFF) + (low >> 16);
        low = (low & 0xFFFF) + (low >> 16);
        memcpy(rest, &one, 2);
        return rest[0] ? (long long) (low >> 8 | (low & 0xFF) << 8) : (long long) low;
    }
    """
    void tcptrace_fsm_prefetch(const void* address) noexcept nogil
    long long tcptrace_fsm_fold(long long x, long long y) noexcept nogil
    long long tcptrace_fsm_ones_sum(const unsigned char* at, long long count) noexcept nogil
    long long tcptrace_fsm_rotated(long long x, long long by) noexcept nogil
    long long tcptrace_fsm_uint16(const unsigned char* at) noexcept nogil
    long long tcptrace_fsm_uint32(const unsigned char* at) noexcept nogil
    long long tcptrace_fsm_little32(const unsigned char* at) noexcept nogil

cdef inline long long fold(long long a, long long b) noexcept nogil:
    return tcptrace_fsm_fold(a, b)

cdef inline long long ones_sum(const unsigned char* content, long long at, long long count) noexcept nogil:
    return tcptrace_fsm_ones_sum(content + at, count)

cdef inline long long rotated(long long x, long long by) noexcept nogil:
    return tcptrace_fsm_rotated(x, by)

cdef inline long long uint16(const unsigned char* data, long long at) noexcept nogil:
    return tcptrace_fsm_uint16(data + at)

cdef inline long long uint32(const unsigned char* data, long long at) noexcept nogil:
    return tcptrace_fsm_uint32(data + at)

cdef inline long long little32(const unsigned char* data, long long at) noexcept nogil:
    return tcptrace_fsm_little32(data + at)

cdef inline long long* pointer(long long* words) noexcept nogil:
    return words

cdef inline const unsigned char* octets(const unsigned char* content) noexcept nogil:
    return content

cdef inline long long prefetch(long long* words, long long i) noexcept nogil:
    tcptrace_fsm_prefetch(&words[i])
    return 0
'''


RECORDS = """
cdef inline Tcb* tcb_in(long long* scratch) noexcept nogil:
    return <Tcb*> scratch

cdef inline Segment* segments_in(long long* work) noexcept nogil:
    return <Segment*> work

cdef inline Transition* transitions_in(long long* out) noexcept nogil:
    return <Transition*> out

cdef inline Connection* row_at(long long* rows, long long c) noexcept nogil:
    return <Connection*> (rows + c)

cdef inline Endpoint* end_of(Connection* row, long long side) noexcept nogil:
    return &row.endpoints[side]

cdef inline Timers* timers_at(long long* timers, long long host) noexcept nogil:
    return <Timers*> (timers + host)
"""


def layout() -> dict[str, int]:
    """The integer constants of ``kernels/layout/``."""
    layout: dict[str, object] = {}
    sys.path.insert(0, str(ROOT))
    try:
        # One file after the other, by its path: to import the folder would load what was compiled before.
        for path in sorted((KERNELS / "layout").glob("[a-z]*.py")):
            layout |= runpy.run_path(str(path))
    finally:
        sys.path.pop(0)
    return {k: int(v) for k, v in layout.items() if isinstance(v, int) and k[0].isupper()}


def constants(values: dict[str, int]) -> list[str]:
    """The layout as a C enum: ``rows[c + FIELD]`` becomes an address with an offset."""
    # Masks and times are 64 bits wide. As members of an enum they would be ints, and lose their upper half on the way.
    masks = {k: v for k, v in values.items() if k.startswith("M_") or k == "MILLISECOND"}
    too_wide = [k for k, v in values.items() if k not in masks and not -(2**31) < v < 2**31]
    if too_wide:
        raise ValueError(f"layout: {too_wide} do not fit a C int")
    # The -1 makes the enum's type signed with every compiler.
    lines = ["cdef enum:", "    _SIGNED = -1"]
    lines += [f"    {k} = {v}" for k, v in values.items() if k not in masks]
    lines += ["cdef extern from *:", '    """']
    lines += [f"    #define TCPTRACE_FSM_{k} {v}LL" for k, v in masks.items()]
    lines += ['    """']
    lines += [f'    const long long {k} "TCPTRACE_FSM_{k}"' for k in masks]
    return lines


def structs(values: dict[str, int]) -> list[str]:
    """The records of ``kernels/records.py`` as C structs: ``record.field`` becomes an address with an offset."""
    tree = ast.parse((KERNELS / "records.py").read_text(encoding="utf-8"))
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef)]
    lines: list[str] = []
    for record in (c for c in classes if c.keywords or c.name in {"Segment", "Tcb"} or is_held(c)):
        declared = [n for n in record.body if isinstance(n, ast.AnnAssign)]
        fields = [n for n in declared if "ClassVar" not in ast.unparse(n.annotation)]
        named = {n.target.id: ast.unparse(n.annotation) for n in fields}
        TYPES[record.name] = f"{record.name}*"
        if is_held(record):
            HOLDERS[record.name] = named
        lines += ["", f"cdef struct {record.name}:"]
        if record.keywords:
            options = {k.arg: k.value for k in record.keywords}
            lines += placed(named, ast.literal_eval(options["prefix"]), ast.unparse(options["size"]), values)
            continue
        lines += [f"    {pointer_to(kind)} {name}" for name, kind in named.items()]
        first = {n.target.id: ast.unparse(n.value) for n in fields if n.value}
        if first:
            lines += ["", f"cdef inline long long begin_anew({record.name}* record) noexcept nogil:"]
            lines += [f"    record.{name} = {value}" for name, value in first.items()] + ["    return 0"]
    return lines


def is_held(record: ast.ClassDef) -> bool:
    """Whether Python makes objects of this record, which hold the kernels' arrays."""
    return any(ast.unparse(base) == "Held" for base in record.bases)


def placed(named: dict[str, str], prefix: str, size: str, values: dict[str, int]) -> list[str]:
    """The fields of a record over words that the layout numbers, and words that nobody names between them."""
    lines, end = [], 0
    numbered = sorted(v for k, v in values.items() if k.startswith(prefix))
    for at, name in sorted((values[prefix + name.strip("_").upper()], name) for name in named):
        if at > end:
            lines.append(f"    long long _{end}[{at - end}]")
        end = min([v for v in numbered if v > at], default=values[size])
        if named[name] == "Ends":
            end = at + 2 * values["ENDPOINT_SIZE"]
            lines.append(f"    Endpoint {name}[2]")
        else:
            lines.append(f"    long long {name}" + (f"[{end - at}]" if named[name] == "Words" else ""))
            end = end if named[name] == "Words" else at + 1
    if end < values[size]:
        lines.append(f"    long long _{end}[{values[size] - end}]")
    return lines


def pointer_to(kind: str) -> str:
    """The C type of a field, or of a parameter, that stands for a record or for records."""
    return f"{kind[8:-1]}*" if kind.startswith("Records[") else TYPES[kind]


def in_c(function: ast.FunctionDef, name: str, lines: list[str], *, inline: bool) -> list[str]:
    """A kernel's function, whose text is in ``lines``, as a C function ``name``: annotations become C types."""
    for node in (n for n in ast.walk(function) if isinstance(n, ast.Assign)):
        taken = ast.unparse(node.value.value) if isinstance(node.value, ast.Subscript) else ""
        if taken in {"tcb.log", "tcb.out"} and isinstance(node.targets[0], ast.Name):
            raise ValueError(f"{name}: {ast.unparse(node)}: this is a copy in C, and the record itself in Python")
    kind = "cdef inline" if inline else "cdef"
    arguments = ", ".join(f"{TYPES[ast.unparse(a.annotation)]} {a.arg}" for a in function.args.args)
    begin = function.body[1] if ast.get_docstring(function) else function.body[0]
    signature = f"{kind} {TYPES[ast.unparse(function.returns)]} {name}({arguments}) noexcept nogil:"
    return ["", signature, *lines[begin.lineno - 1 : function.end_lineno]]


def for_python(function: ast.FunctionDef, name: str) -> list[str]:
    """What Python calls: it takes the arrays' memory and lets other threads run meanwhile.

    A record that is passed is an object of Python's with the same fields: its arrays' memory is taken as well, and its
    numbers are written back.
    """
    taken, passed, before, after = [], [], [], []
    for argument in function.args.args:
        kind = ast.unparse(argument.annotation)
        if kind in HOLDERS:
            taken.append(argument.arg)
            passed.append(f"&{argument.arg}_record")
            before += [f"    cdef {kind} {argument.arg}_record", *held(argument.arg, HOLDERS[kind])]
            numbers = [field for field, of in HOLDERS[kind].items() if of == "int"]
            after += [f"    {argument.arg}.{field} = {argument.arg}_record.{field}" for field in numbers]
        else:
            taken.append(f"{ARRAYS.get(kind, TYPES[kind])} {argument.arg}")
            passed.append(f"&{argument.arg}[0]" if kind in ARRAYS else argument.arg)
    return [
        "",
        f"def {function.name}({', '.join(taken)}):",
        f"    {ast.get_docstring(function)!r}",
        "    cdef long long result",
        *before,
        "    with nogil:",
        f"        result = {name}({', '.join(passed)})",
        *after,
        "    return result",
    ]


def held(argument: str, fields: dict[str, str]) -> list[str]:
    """The lines that fill the record of a function's argument from the object of Python's."""
    lines = []
    for field, kind in fields.items():
        if kind == "int":
            lines.append(f"    {argument}_record.{field} = {argument}.{field}")
        else:
            lines.append(f"    cdef {ARRAYS[kind]} {argument}_{field} = {argument}.{field}")
            lines.append(f"    {argument}_record.{field} = &{argument}_{field}[0]")
    return lines


def source_text() -> str:
    """The one source of the extension: each kernel's functions, in C types; what ``__all__`` names, Python may call."""
    values = layout()
    head_lines = [*constants(values), *structs(values), RECORDS]
    body: list[str] = []
    exported: dict[str, tuple[str, ...]] = {}
    homes: dict[str, str] = {}
    for path in sorted(p for p in KERNELS.glob("*.py") if p.stem not in NOT_COMPILED):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        tree = ast.parse(text)
        public = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign)), ())  # __all__
        body += ["", f"# --- {path.name}"]
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            other = homes.setdefault(node.name, path.name)
            if other != path.name:
                raise ValueError(f"{path.name}: {node.name} is also the name of a function of {other}")
            name = f"{node.name}_in_c" if node.name in public else node.name
            body += in_c(node, name, lines, inline=not public)  # what several kernels call is small
            if node.name in public:
                body += for_python(node, name)
        if public:
            exported[path.stem] = tuple(public)
    head = ["# Generated by setup.py from the kernels.", f"KERNELS = {exported!r}", f"SOURCES = {digests()!r}"]
    return "\n".join([*head, *head_lines, HEAD, *body]) + "\n"


def digests() -> dict[str, int]:
    """A checksum of each source, by which the package knows whether what is compiled was compiled from it."""
    sources = sorted(p for p in KERNELS.rglob("*.py") if p.stem not in {"__init__", "memory"})
    named = {p.relative_to(KERNELS).with_suffix("").as_posix(): p for p in sources}
    return {name: zlib.crc32(p.read_bytes().replace(b"\r\n", b"\n")) for name, p in named.items()}


def one_for_all() -> bool:
    """Whether the extension is to serve every Python from 3.11 on (PEP 384).

    It costs nothing that can be measured: the kernels are C, and Python calls them once for many packets. A build
    without the GIL has no such interface, and Cython has known how to pass arrays through it for a short time only.
    """
    try:
        from Cython import __version__
    except ImportError:
        return False
    major, minor, *_ = __version__.split(".")
    return (int(major), int(minor)) >= (3, 3) and not sysconfig.get_config_var("Py_GIL_DISABLED")


def extensions() -> list[Extension]:
    """The kernels as a C extension, or none where Cython is missing or ``TCPTRACE_FSM_PURE`` is set."""
    if os.environ.get("TCPTRACE_FSM_PURE"):
        return []
    if importlib.util.find_spec("Cython") is None:
        print(f"tcptrace-fsm: no Cython; {COST}", file=sys.stderr)
        return []
    return [
        Extension(
            "tcptrace_fsm.kernels._compiled",
            [SOURCE],
            depends=["setup.py"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if one_for_all() else [],
            py_limited_api=one_for_all(),
            extra_compile_args=[]
            if sys.platform == "win32"
            else ["-O3", "-g0", "-fwrapv", "-fno-strict-aliasing", "-w"],
            optional=True,
        )
    ]


def translated(extension: Extension) -> list[str]:
    """The C sources of an extension, written anew where the kernels have changed.

    Who asks for metadata or packs the sources does without: it takes longer than all else that they do.
    """
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    source = ROOT / SOURCE
    source.parent.mkdir(parents=True, exist_ok=True)
    text = source_text()
    if not source.exists() or source.read_text(encoding="utf-8") != text:  # else nothing need be compiled again
        source.write_text(text, encoding="utf-8")
    # Cython follows its source; flags it does not see.
    generated = source.with_suffix(".c")
    stale = generated.exists() and generated.stat().st_mtime < Path(__file__).stat().st_mtime
    Options.emit_code_comments = False
    (in_c,) = cythonize(
        [extension],
        compiler_directives={
            "language_level": 3,
            "infer_types": True,  # locals become C integers
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
        force=stale,
        quiet=True,
    )
    return list(in_c.sources)


class OptionalBuildExt(build_ext):
    """Build the kernels if that can be done; say what it costs when it cannot."""

    def run(self) -> None:
        for extension in self.extensions or ():
            extension.sources = translated(extension)
        try:
            super().run()
        except Exception as reason:  # no compiler, no headers: an install without kernels is still an install
            print(f"tcptrace-fsm: {reason}; {COST}", file=sys.stderr)
        if self.inplace:
            self.remove_others()

    def remove_others(self) -> None:
        """Remove what an earlier build left in place under another name: Python might take it for the new one."""
        made = {Path(self.get_ext_filename(self.get_ext_fullname(ext.name))).name for ext in self.extensions or ()}
        if made and all((KERNELS / name).exists() for name in made):
            for pattern in ("_compiled*.so", "_compiled*.pyd"):
                for other in KERNELS.glob(pattern):
                    if other.name not in made:
                        other.unlink()

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as reason:
            print(f"tcptrace-fsm: {ext.name}: {reason}; {COST}", file=sys.stderr)


class TrueWheel(bdist_wheel):
    """A wheel whose name says what is in it: without the extension it is for every machine."""

    def run(self) -> None:
        self.run_command("build_ext")
        outputs = self.get_finalized_command("build_ext").get_outputs()
        if not any(Path(path).exists() for path in outputs):
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()


EXTENSIONS = extensions()

setup(
    ext_modules=EXTENSIONS,
    cmdclass={"build_ext": OptionalBuildExt, "bdist_wheel": TrueWheel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if one_for_all() else {},
)
