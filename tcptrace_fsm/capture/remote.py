"""Remote storage (``s3://``, ``gs://``, ``https://`` ...) through fsspec, which is asked for only when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

from tcptrace_fsm.errors import CaptureError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_remote", "list_remote", "open_remote", "put_remote", "remove_remote", "write_remote"]


def is_remote(name: str) -> bool:
    """Whether a name is a URL.

    >>> is_remote("s3://bucket/x.pcap"), is_remote("C:/x.pcap"), is_remote("x.pcap")
    (True, False, False)
    """
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.replace("+", "").replace("-", "").isalnum()


def _storage(url: str) -> tuple[Any, str]:
    """Give the file system of a URL, and the path in it. Raises UsageError."""
    try:
        url_to_fs: Any = import_module("fsspec.core").url_to_fs
    except ImportError as reason:
        raise UsageError(f"{url}: remote storage needs fsspec: pip install 'tcptrace-fsm[remote]'") from reason
    try:
        storage, path = url_to_fs(url)
    except (ImportError, ValueError) as reason:  # ImportError: what this kind of storage needs is not installed
        raise UsageError(f"{url}: {reason}") from reason
    return storage, path


def open_remote(url: str) -> tuple[BinaryIO, int | None]:
    """Open a remote file for reading forwards; also its size, where that is known. Raises CaptureError."""
    storage, path = _storage(url)
    try:
        file: BinaryIO = storage.open(path, "rb", cache_type="readahead")
        return file, getattr(file, "size", None)
    except FileNotFoundError as reason:
        raise CaptureError(url, 0, "no such file") from reason
    except PermissionError as reason:
        raise CaptureError(url, 0, "no permission to read it") from reason
    except Exception as reason:  # each kind of storage has errors of its own
        raise CaptureError(url, 0, f"the storage says: {reason or type(reason).__name__}") from reason


def list_remote(url: str) -> list[str]:
    """Give the files that a URL stands for: those that match a pattern, those of a folder, or itself."""
    storage, path = _storage(url)
    try:
        if any(sign in path for sign in "*["):
            found = storage.glob(path)
        elif storage.isdir(path) and not url.startswith("http"):
            found = [one["name"] for one in storage.ls(path, detail=True) if one["type"] == "file"]
        else:
            return [url]
        return [storage.unstrip_protocol(one) for one in found]
    except Exception as reason:  # each kind of storage has errors of its own
        raise CaptureError(url, 0, f"the storage says: {reason or type(reason).__name__}") from reason


def put_remote(file: Path, url: str) -> None:
    """Copy a local file there."""
    storage, path = _storage(url)
    _making_sense(url, lambda: storage.put_file(str(file), path))


def write_remote(url: str, content: bytes) -> None:
    """Write a small file there."""
    storage, path = _storage(url)
    _making_sense(url, lambda: storage.pipe_file(path, content))


def remove_remote(url: str) -> None:
    """Remove a file or a folder, if there is one."""
    storage, path = _storage(url)

    def remove() -> None:
        if storage.exists(path):
            storage.rm(path, recursive=True)

    _making_sense(url, remove)


def _making_sense(url: str, act: Any) -> None:
    try:
        act()
    except Exception as reason:  # each kind of storage has errors of its own
        raise UsageError(f"cannot write to {url}: {reason or type(reason).__name__}") from reason
