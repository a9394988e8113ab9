"""Images that publishers compress: unpacked as they are read, to at most so many bytes, holes kept as holes.

What an archive says of its size is never believed. Zeros take no room on the disk, so the usual bomb (a small
file that is a mountain of zeros) costs time and nothing else, and not more of it than an image of the largest
size takes.
"""

import bz2
import gzip
import lzma
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from systemvm.engine.errors import CommandError
from systemvm.engine.fetch import Cancelled
from systemvm.engine.image_header import ImageRefused
from systemvm.engine.service import Runner

GZIP, BZIP2, XZ, ZSTD = "gzip", "bzip2", "xz", "zstd"
_MAGIC = {b"\x1f\x8b": GZIP, b"BZh": BZIP2, b"\xfd7zXZ\0": XZ, b"\x28\xb5\x2f\xfd": ZSTD}
#: Bytes of memory that unpacking may take: twice what `xz -9` and `zstd --ultra -22` ask for.
MEMORY = 256 << 20
#: Seconds that zstd may take.
_TIMEOUT = 3600.0
_CHUNK = 1 << 20


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its first bytes; None if it is not."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def unpack(
    source: Path, how: str, target: Path, *, max_bytes: int, run: Runner, cancelled: Callable[[], bool]
) -> None:
    """Unpack `source` into `target`. Raises ImageRefused, Cancelled, OSError (disk full)."""
    try:
        if how == ZSTD:
            _run_zstd(source, target, max_bytes, run)
        else:
            _write(_chunks(source, how), target, max_bytes, cancelled)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ImageRefused(f"what is compressed with {how} cannot be unpacked: {error}") from None
    except OSError as error:
        # bz2 has no error of its own; the disk's have a number.
        if error.errno is not None:
            raise
        raise ImageRefused(f"what is compressed with {how} cannot be unpacked: {error}") from None


def _write(chunks: Iterator[bytes], target: Path, max_bytes: int, cancelled: Callable[[], bool]) -> None:
    size = 0
    with target.open("wb") as file:
        for chunk in chunks:
            if cancelled():
                raise Cancelled
            size += len(chunk)
            if size > max_bytes:
                raise ImageRefused(f"unpacked it has more than the {max_bytes} bytes that are allowed")
            if chunk.count(0) == len(chunk):
                file.seek(size)
            else:
                file.write(chunk)
        file.truncate(size)


def _chunks(source: Path, how: str) -> Iterator[bytes]:
    if how == XZ:
        yield from _xz(source)
        return
    with gzip.open(source) if how == GZIP else bz2.open(source) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _xz(source: Path) -> Iterator[bytes]:
    """All streams of a file; unlike `lzma.open` with a limit to the memory that their headers ask for."""
    decompressor, rest = lzma.LZMADecompressor(memlimit=MEMORY), b""
    with source.open("rb") as file:
        while True:
            if decompressor.eof:
                # Streams may be padded with zeros (xz-file-format, 2.2).
                rest = (decompressor.unused_data or file.read(_CHUNK)).lstrip(b"\0")
                if not rest:
                    return
                decompressor = lzma.LZMADecompressor(memlimit=MEMORY)
            elif decompressor.needs_input and not rest:
                rest = file.read(_CHUNK)
                if not rest:
                    raise EOFError("it ends in the middle")
            yield decompressor.decompress(rest, _CHUNK)
            rest = b""


def _run_zstd(source: Path, target: Path, max_bytes: int, run: Runner) -> None:
    """The tool, because Python learns it only in 3.14; the kernel stops it at the size that is allowed."""
    argv = (
        *("prlimit", f"--fsize={max_bytes}", "--core=0", "--"),
        *("zstd", "--decompress", "--quiet", "--force", f"--memory={MEMORY >> 20}MB", "--sparse"),
        *("-o", str(target), "--", str(source)),
    )
    try:
        run(argv, timeout=_TIMEOUT)
    except CommandError as error:
        if error.returncode == -signal.SIGXFSZ:
            words = f"unpacked it has more than the {max_bytes} bytes that are allowed"
        else:
            words = f"what is compressed with {ZSTD} cannot be unpacked: {error.stderr.strip() or error}"
        raise ImageRefused(words) from None
