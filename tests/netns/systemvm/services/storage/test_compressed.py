"""Compressed templates through the storage VM's own processes and tools."""

import bz2
import gzip
import hashlib
import lzma
import subprocess
from collections.abc import Callable

import pytest

from systemvm.spec.appliances import ImageFormat
from tests.netns.storage_bench import StorageBench, source

pytestmark = pytest.mark.netns


def zstd(raw: bytes) -> bytes:
    return subprocess.run(("zstd", "-q", "-c"), input=raw, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_it_is_downloaded_unpacked_and_judged(
    bench: StorageBench, compress: Callable[[bytes], bytes]
) -> None:
    image = bench.images["ok.qcow2"]
    packed = bench.web.files["packed"] = compress(image)
    wanted = source("/packed", checksum=f"sha256:{hashlib.sha256(packed).hexdigest()}")
    status = bench.outcome(wanted)
    assert (status["state"], status["size"], status["virtual_size"]) == ("ready", len(image), 4 << 20), status
    assert status["sha256"] == hashlib.sha256(image).hexdigest()
    assert bench.files("partial") == []


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_what_is_in_it_is_judged_as_all_others(
    bench: StorageBench, compress: Callable[[bytes], bytes]
) -> None:
    for content, kind, more, words in (
        (bench.images["backing.qcow2"], ImageFormat.qcow2, {}, "names a backing file"),
        (compress(bench.images["ok.qcow2"]), ImageFormat.qcow2, {}, "it is compressed with"),
        (bytes(64 << 20), ImageFormat.raw, {"max_bytes": 1 << 20}, "more than the 1048576 bytes"),
        (bench.images["ok.qcow2"], ImageFormat.qcow2, {"checksum": "md5:" + "0" * 32}, "its md5 is"),
    ):
        bench.web.files["packed"] = compress(content)
        status = bench.outcome(source("/packed", kind=kind, **more))
        assert status["state"] == "failed"
        assert words in status["error"]
    bench.web.files["packed"] = compress(bench.images["ok.qcow2"])[:-50]
    assert "cannot be unpacked" in bench.outcome(source("/packed"))["error"]
    assert bench.files("partial") + bench.files("templates") == []
