"""Prints the entries of layers' blobs, in whatever compression, with all that Python's tarfile reads of each."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile


def plain(raw):
    if raw[:2] == b"\x1f\x8b":
        return gzip.decompress(raw)
    if raw[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-d", "-q", "-c"], input=raw, check=True, stdout=subprocess.PIPE).stdout
    return raw


def main(*blobs):
    for number, blob in enumerate(blobs):
        show(number, blob)


def show(number, blob):
    with open(blob, "rb") as file:
        raw = plain(file.read())
    with tarfile.open(fileobj=io.BytesIO(raw), encoding="utf-8", errors="surrogateescape") as tar:
        for entry in tar:
            content = tar.extractfile(entry).read() if entry.isreg() else b""
            print(number, ascii([entry.name, entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.linkname,
                                 entry.devmajor, entry.devminor, entry.size, entry.sparse,
                                 sorted(entry.pax_headers.items()), hashlib.sha256(content).hexdigest()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
