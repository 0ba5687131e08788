"""Files that are either whole or absent, and tables that say what they are.

Everything the program writes goes to a temporary name beside the target, is fsynced and
renamed. Tables and JSON carry ``format`` and ``version``; a newer version is refused.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from histoscope.core.errors import DataError, UsageError, printable, writing

# files by which folders of results are known: claims, and what is written last
_FIRST_OR_LAST = (
    *("settings.json", "store.json", "predict.json", "embed.json", "package.json"),
    *("encoder.json", "metrics.json", "suggest.json", "annotations.json", "tissue.json"),
    "review.json",
)
_OUR_FORMAT = re.compile(rb'"format"\s*:\s*"histoscope\.')
_HEAD_BYTES = 256
_LEFT = re.compile(r"(\.\d+\.part)+$")  # behind the name of a file that is being written


def holds_anything(folder: Path) -> bool:
    """Whether there is anything in a folder that results shall go to; it may be absent.

    What a killed call left half written counts for nothing.

    Raises:
        UsageError: it is a file, or its name is one that the libraries of tables do not take.
    """
    if printable(str(folder)) != str(folder):
        raise UsageError(f"{printable(str(folder))}: not UTF-8; give another --out")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file, where a folder is needed; give another --out")
    return folder.exists() and any(whole_name(file) == file.name for file in folder.iterdir())


def whole_name(file: Path) -> str:
    """The name that a file has, or will have once it is whole."""
    return _LEFT.sub("", file.name)


def remove_left(folder: Path, name: str = "*") -> None:
    """Remove what a killed call left half written in a folder, where nobody else writes now.

    Args:
        folder: it may be absent.
        name: pattern of the names that the files would have had.
    """
    for file in folder.glob(f"{name}.part"):
        if whole_name(file) != file.name:
            with writing(file):
                file.unlink(missing_ok=True)


def holds_results(folder: Path) -> bool:
    """Whether the program keeps results in a folder, finished or begun; False where unreadable."""
    return any(_begins_as_ours(folder / name) for name in _FIRST_OR_LAST)


def _begins_as_ours(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except OSError:
        return False
    return _OUR_FORMAT.search(head) is not None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and takes its name.

    A file that already holds the same bytes is left alone, with its time stamp. The mode is that of
    any new file here, whatever the writer makes of it: colleagues read what they may.

    Raises:
        CannotWrite: the machine refuses it; nothing is left of it then, and what was there stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing(path.with_name(whole_name(path))):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.touch()
            mode = part.stat().st_mode
            yield part
            part.chmod(mode)
            if not (path.is_file() and filecmp.cmp(part, path, shallow=False)):
                with part.open("rb+") as handle:
                    os.fsync(handle.fileno())
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Yield ``path`` itself: one of many files that count only once another one is there.

    Raises:
        CannotWrite: as :func:`atomic_path`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` to ``path``, atomically."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path``, atomically, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def json_bytes(format_name: str, version: int, body: Mapping[str, Any]) -> bytes:
    r"""``body`` behind ``format`` and ``version``, indented, keys in the order given.

    A name that is not UTF-8 comes back as it was: its stray bytes stand there as ``\udcfc``.
    """
    whole = {"format": format_name, "version": version, **body}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def write_json(path: Path, format_name: str, version: int, body: Mapping[str, Any]) -> None:
    """Write :func:`json_bytes`."""
    write_bytes(path, json_bytes(format_name, version, body))


def check_readable(path: Path) -> None:
    """See that a file can be opened, where a library would say less.

    Raises:
        DataError: it is not there, or may not be read.
    """
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror})") from None


def read_json(path: Path, format_name: str, version: int) -> dict[str, Any]:
    """Read a JSON file of ours.

    Raises:
        DataError: absent, not JSON, of another format, or written by a newer program.
    """
    check_readable(path)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: not a JSON file ({fault})") from None
    if not isinstance(body, dict):
        raise DataError(f"{path}: not a {format_name} file")
    _check_version(path, body.get("format"), body.get("version"), format_name, version)
    return body


def write_table(path: Path, format_name: str, version: int, table: pa.Table) -> None:
    """Write a Parquet table whose schema metadata carries ``format`` and ``version``."""
    metadata = {**(table.schema.metadata or {}), b"format": format_name.encode()}
    metadata[b"version"] = str(version).encode()
    with atomic_path(path) as part:
        pq.write_table(table.replace_schema_metadata(metadata), part)


def read_table(path: Path, format_name: str, version: int) -> pa.Table:
    """Read a Parquet table of ours; errors as in :func:`read_json`."""
    check_readable(path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as fault:
        raise DataError(f"{path}: not a Parquet table ({fault})") from None
    metadata = table.schema.metadata or {}
    found = metadata.get(b"format", b"").decode()
    number = metadata.get(b"version", b"0").decode()
    _check_version(path, found, int(number) if number.isdigit() else None, format_name, version)
    return table


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table as CSV, UTF-8, comma, header line, atomically; null is an empty field."""
    with atomic_path(path) as part:
        pyarrow.csv.write_csv(table, part)


def _check_version(
    path: Path, found: object, number: object, format_name: str, version: int
) -> None:
    if found != format_name:
        raise DataError(f"{path}: not a {format_name} file (its format is {found!r})")
    if not isinstance(number, int) or number < 1:
        raise DataError(f"{path}: {format_name} without a version number")
    if number > version:
        raise DataError(
            f"{path}: {format_name} version {number} is newer than this program reads "
            f"({version}); install a newer histoscope"
        )


def digest_of(names: Iterable[str]) -> str:
    """Digest of names, in any order, 16 hex digits."""
    joined = "\n".join(sorted(names))
    return hashlib.blake2b(joined.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_of(path: Path) -> bytes:
    """The bytes of a small file; of one that cannot be read, why: whoever uses it will say so."""
    try:
        return path.read_bytes()
    except OSError as fault:
        return str(fault.strerror).encode()


def middle_of(path: Path, block_bytes: int = 4096) -> bytes:
    """Size and the middle block of a file, empty where it cannot be read.

    Pictures of one size without compression differ there, though they share head and tail.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            handle.seek(max(0, size - block_bytes) // 2)
            return size.to_bytes(8, "little") + handle.read(block_bytes)
    except OSError:
        return b""


def digest_of_bytes(parts: Iterable[bytes]) -> str:
    """Digest of byte strings and of where one ends and the next begins, 16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def fingerprint(path: Path, blocks: int = 16, block_bytes: int = 4096) -> str:
    """Digest of a file's name, size and ``blocks`` evenly spaced blocks, 16 hex digits.

    Stable when a folder moves; cheap on a network drive. Two files differ here unless name,
    size and all blocks agree.

    Raises:
        OSError: it cannot be read, or is a pipe, which would wait for its writer.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))
    size = path.stat().st_size
    digest = hashlib.blake2b(os.fsencode(path.name) + f"\0{size}\0".encode(), digest_size=8)
    with path.open("rb") as handle:
        for block in range(blocks):
            handle.seek(max(0, size - block_bytes) * block // max(1, blocks - 1))
            digest.update(handle.read(block_bytes))
    return digest.hexdigest()
