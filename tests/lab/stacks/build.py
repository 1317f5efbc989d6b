"""The programs that are one host each, built from what Debian packages: lwIP's source, libslirp, gVisor's netstack."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
STACKS = ("lwip", "gvisor", "slirp")
GVISOR = Path("/usr/share/gocode/src/gvisor.dev/gvisor/pkg/tcpip")
SLIRP = Path("/usr/include/slirp/libslirp.h")
LIMIT = 600  # seconds that one build may take


def cache() -> Path:
    """Where programs and sources are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "tcptrace-fsm-lab" / "stacks"


def lwip_source() -> Path | None:
    """The unpacked source of Debian's lwip, in the cache or in ``LWIP_SOURCE``."""
    given = os.environ.get("LWIP_SOURCE")
    places = [Path(given)] if given else sorted(cache().glob("lwip-*"))
    return next((p / "src" for p in places if (p / "src" / "core" / "tcp.c").exists()), None)


def missing(stack: str) -> str:
    """Why this stack cannot be had here; empty if it can."""
    if (cache() / stack).exists():
        return ""
    if stack == "lwip":
        if not shutil.which("gcc"):
            return "no gcc"
        return "" if lwip_source() else "no source of lwip: `python -m tests.lab stacks --fetch`, or LWIP_SOURCE"
    if stack == "slirp":
        if not shutil.which("gcc"):
            return "no gcc"
        return "" if SLIRP.exists() else "no libslirp-dev"
    if not shutil.which("go"):
        return "no go"
    return "" if GVISOR.exists() else "no golang-gvisor-gvisor-dev"


def fetch() -> None:
    """Have apt bring lwip's source into the cache, without touching the system's own lists."""
    place = cache()
    (place / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    sources = place / "source.list"
    about = Path("/etc/os-release").read_text().splitlines()
    release = next(line.split("=")[1].strip('"') for line in about if line.startswith("VERSION_CODENAME"))
    sources.write_text(f"deb-src http://deb.debian.org/debian {release} main\n")
    own = [f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=-", f"-oDir::State::lists={place / 'lists'}"]
    subprocess.run(["apt-get", *own, "update"], check=True, timeout=LIMIT)
    subprocess.run(["apt-get", *own, "source", "--download-only", "lwip"], check=True, timeout=LIMIT, cwd=place)
    for archive in place.glob("lwip_*.orig.tar.xz"):
        subprocess.run(["tar", "xf", archive.name], check=True, cwd=place)


def program(stack: str) -> Path:
    """The program that is one host with this stack; built if it is not there or older than its source."""
    place = cache()
    place.mkdir(parents=True, exist_ok=True)
    made = place / stack
    folder = HERE / stack
    newest = max(p.stat().st_mtime for p in folder.rglob("*") if p.is_file())
    if made.exists() and made.stat().st_mtime > newest:
        return made
    environment = dict(os.environ)
    if stack == "lwip":
        source = lwip_source()
        assert source, missing(stack)
        core = [*(source / "core").glob("*.c"), *(source / "core" / "ipv4").glob("*.c")]
        command = ["gcc", "-O1", "-w", "-I", folder, "-I", source / "include", folder / "host.c", *core, "-o", made]
    elif stack == "slirp":
        command = ["gcc", "-O1", "-I", SLIRP.parent, folder / "host.c", "-lslirp", "-o", made]
    else:
        environment |= {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(place / "go")}
        command = ["go", "build", "-o", made, folder / "host.go"]
    fresh = made.with_suffix(f".{os.getpid()}")
    command[command.index("-o") + 1] = fresh
    subprocess.run([str(word) for word in command], check=True, timeout=LIMIT, env=environment)
    fresh.replace(made)
    return made
