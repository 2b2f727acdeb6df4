"""Makes an image of everything that a layer can hold, as an OCI layout with the tag `torture`.

    python3 image.py LAYOUT SCRATCH [FOR]

For `umoci` and `podman` without what they do not read: GNU's old sparse files, zstd (umoci), paths that come twice
(podman).

Needs root, for the devices and owners of the tree that GNU tar packs. The archives come from two programs that are
not under test: Python's tarfile, and GNU tar.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
ACCESS_ACL = bytes.fromhex("02000000" "01000600ffffffff" "02000400e8030000" "04000400ffffffff"
                           "10000600ffffffff" "20000400ffffffff")
DEFAULT_ACL = bytes.fromhex("02000000" "01000700ffffffff" "02000500e8030000" "04000500ffffffff"
                            "10000700ffffffff" "20000000ffffffff")
MOST_ID = 2**32 - 2


def text(raw):
    """Bytes as tarfile wants them."""
    return raw.decode("utf-8", "surrogateescape")


class Layer:
    """A tar that grows entry by entry."""

    def __init__(self, form):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=form, encoding="utf-8", errors="surrogateescape")

    def add(self, name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o644, uid=0, gid=0, mtime=1700000000,
            device=(0, 0), xattrs=None, records=None):
        entry = tarfile.TarInfo(name if isinstance(name, str) else text(name))
        entry.type, entry.size, entry.mode, entry.uid, entry.gid = kind, len(data), mode, uid, gid
        entry.mtime, (entry.devmajor, entry.devminor) = mtime, device
        entry.linkname = link if isinstance(link, str) else text(link)
        for key, value in (xattrs or {}).items():
            entry.pax_headers["SCHILY.xattr." + key] = text(value)
        entry.pax_headers.update(records or {})
        self.tar.addfile(entry, io.BytesIO(data))

    def directory(self, name, **more):
        self.add(name, tarfile.DIRTYPE, **{"mode": 0o755, **more})

    def symlink(self, name, link, **more):
        self.add(name, tarfile.SYMTYPE, link=link, **{"mode": 0o777, **more})

    def hard_link(self, name, link, **more):
        self.add(name, tarfile.LNKTYPE, link=link, **more)

    def finish(self):
        self.tar.close()
        return self.bytes.getvalue()


def kinds(form):
    """All kinds of entries, owners, modes, times and names; what the format can say of them."""
    layer = Layer(form)
    top = "pax" if form == tarfile.PAX_FORMAT else "gnu"
    layer.directory(top)
    layer.add(f"{top}/file", data=b"content\n")
    layer.add(f"{top}/empty")
    layer.add(f"{top}/large", data=bytes(range(256)) * 5000)
    layer.symlink(f"{top}/link", "file")
    layer.symlink(f"{top}/absolute", f"/{top}/file")
    layer.symlink(f"{top}/dangling", "../../../nowhere/at all")
    layer.symlink(f"{top}/long link", "t/" * 1500 + "end")
    layer.add(f"{top}/fifo", tarfile.FIFOTYPE, mode=0o640)
    layer.add(f"{top}/character", tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    layer.add(f"{top}/block", tarfile.BLKTYPE, device=(7, 300), mode=0o660, gid=6)
    for mode in (0o0, 0o111, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777):
        layer.add(f"{top}/mode {mode:o}", data=b"mode", mode=mode)
    for mode in (0o0, 0o500, 0o1777, 0o2775):
        layer.directory(f"{top}/directory {mode:o}", mode=mode)
        layer.add(f"{top}/directory {mode:o}/inside", data=b"inside")
    for owner in (1000, 65534, 2097152, 2**31 - 1, 2**31, MOST_ID):
        layer.add(f"{top}/owner {owner}", data=b"owner", uid=owner, gid=owner - 1)
        layer.directory(f"{top}/directory of {owner}", uid=owner - 1, gid=owner)
        layer.symlink(f"{top}/link of {owner}", "file", uid=owner, gid=owner)
    for seconds in (0, 1, -1, -86400, -2**31, 2**31, 2**32, 2**33 - 1):
        layer.add(f"{top}/time {seconds}", data=b"time", mtime=seconds)
        layer.directory(f"{top}/directory at {seconds}", mtime=seconds)
        layer.symlink(f"{top}/link at {seconds}", "file", mtime=seconds)
    names(layer, top)
    hard_links(layer, top)
    if form == tarfile.PAX_FORMAT:
        records(layer, top)
    return layer.finish()


def names(layer, top):
    layer.add(f"{top}/" + "n" * 255, data=b"255")
    layer.add(f"{top}/" + "é" * 127, data=b"254 bytes")
    deep = top
    for letter in "abcde":
        deep += "/" + letter * 60
        layer.directory(deep)
    assert len(deep) > 300
    layer.add(deep + "/file", data=b"deep")
    layer.hard_link(f"{top}/shallow", deep + "/file")
    layer.symlink(f"{top}/to the deep", deep[len(top) + 1:] + "/file")
    for number, name in enumerate((b"\xff\xfe\x80", b"caf\xe9", b"new\nline", b"tab\there", b" leading", b"trailing ",
                                   b"\x01\x7f", b"quo'te\"", b"back\\slash", b"-dash", b"*?[x]", b"=equals", b"\xe2\x98\x83",
                                   b"wh.", b".whx", b"a.wh.b", b"...", b"..two")):
        layer.add(top.encode() + b"/" + name, data=b"name %d" % number)
    layer.directory(top.encode() + b"/d\xff")
    layer.symlink(top.encode() + b"/d\xff/l\xfe", b"\xfd/\xfc")
    layer.hard_link(top.encode() + b"/d\xff/h\xfb", top.encode() + b"/\xff\xfe\x80")


def hard_links(layer, top):
    for directory in ("one", "two", "two/three"):
        layer.directory(f"{top}/{directory}")
    layer.add(f"{top}/two/three/first", data=b"shared", mode=0o600, uid=7, gid=8)
    for name in ("one/second", "third", "two/fourth"):
        layer.hard_link(f"{top}/{name}", f"{top}/two/three/first", mode=0o600, uid=7, gid=8)
    layer.hard_link(f"{top}/one/link", f"{top}/link")
    layer.hard_link(f"{top}/one/fifo", f"./{top}/fifo")
    layer.hard_link(f"{top}/one/character", f"/{top}/character")


def records(layer, top):
    """What only PAX records can say."""
    layer.add(f"{top}/capable", data=b"#!", mode=0o755, xattrs={"security.capability": CAPABILITY})
    layer.hard_link(f"{top}/one/capable", f"{top}/capable", mode=0o755)
    layer.add(f"{top}/attributes", data=b"x", xattrs={
        "user.text": b"value", "user.binary": b"\x00\x01\n=\xff", "trusted.other": b"t",
        **{f"user.{number}": b"%d" % number for number in range(20)}})
    layer.directory(f"{top}/attributes of a directory", xattrs={"user.text": b"d", "trusted.other": b"t"})
    layer.symlink(f"{top}/attributes of a link", "file", xattrs={"trusted.other": b"l"})
    layer.add(f"{top}/attributes of a fifo", tarfile.FIFOTYPE, xattrs={"trusted.other": b"f"})
    layer.add(f"{top}/acl", data=b"acl", mode=0o664, xattrs={"system.posix_acl_access": ACCESS_ACL})
    layer.directory(f"{top}/default acl", xattrs={"system.posix_acl_default": DEFAULT_ACL})
    layer.add(f"{top}/default acl/made below it", data=b"acl", mode=0o600)
    for time in ("1700000000.123456789", "-1.5", "0.000000001", "-86399.999999999", "1700000000.5"):
        layer.add(f"{top}/time {time}", data=b"time", records={"mtime": time})
        layer.symlink(f"{top}/link at {time}", "file", records={"mtime": time})
    layer.add(f"{top}/comment", data=b"c", records={"comment": "hello", "VENDOR.key": "value"})


def real_tree(scratch):
    """What GNU tar finds on a disk, with sparse files."""
    tree = os.path.join(scratch, "tree")
    os.makedirs(os.path.join(tree, "real/below"))
    place = lambda name: os.path.join(tree, "real", name)
    for name, runs in (("all hole", []), ("middle", [(1 << 20, b"middle")]), ("ends", [(0, b"begin"), (3 << 20, b"end")]),
                       ("many", [(number << 16, b"%06d" % number) for number in range(100)])):
        with open(place("sparse " + name), "wb") as file:
            for offset, data in runs:
                file.seek(offset)
                file.write(data)
            file.truncate(max(4 << 20, 101 << 16))
    with open(place("capable"), "wb") as file:
        file.write(b"#!/bin/true\n")
    os.chmod(place("capable"), 0o755)
    os.setxattr(place("capable"), "security.capability", CAPABILITY)
    os.setxattr(place("capable"), "user.note", b"\x00binary\xff")
    os.mkfifo(place("fifo"))
    os.mknod(place("null"), 0o20666, os.makedev(1, 3))
    os.link(place("capable"), place("below/again"))
    os.symlink("x" * 200, place("link"))
    os.chown(place("link"), 2**31, 2**31, follow_symlinks=False)
    times = {"fifo": -1, "below": -10**18 - 5}
    for name in (*os.listdir(place("")), "below", ""):
        time = times.get(name, 1700000000987654321)
        os.utime(place(name), ns=(time, time), follow_symlinks=False)
    return tree


def packed(tree, name, *flags):
    # Nothing of the moment: no times of access, no process ids in names.
    if "--format=posix" in flags:
        flags += ("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",)
    command = ["tar", "--create", "--sparse", "--sort=name", "--numeric-owner", *flags, "-C", tree,
               "--transform", f"s,^real,{name},rSh", "real"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def whiteouts():
    """What is deleted, hidden and replaced below."""
    layer = Layer(tarfile.PAX_FORMAT)
    layer.directory("pax")
    layer.add("pax/.wh.empty")
    layer.add("pax/.wh.directory 1777")
    layer.add("pax/.wh.character")
    layer.add("pax/.wh.never was there")
    layer.add("pax/one/.wh..wh..opq")
    layer.directory("pax/one", mode=0o700, uid=3)
    layer.add("pax/one/new", data=b"new")
    layer.directory("gnu/two")
    layer.add("gnu/two/before the mark", data=b"b")
    layer.add("gnu/two/.wh..wh..opq")
    layer.add("gnu/two/after the mark", data=b"a")
    layer.add("gnu/link", data=b"a file in the place of a link")
    layer.symlink("gnu/file", "elsewhere")
    layer.add("gnu/directory 2775", data=b"a file in the place of a directory")
    layer.directory("gnu/fifo", mode=0o711)
    layer.add("gnu/fifo/inside", data=b"a directory in the place of a fifo")
    layer.add("gnu/.wh.mode 4755")
    layer.add("gnu/mode 4755", data=b"deleted and made anew")
    layer.directory("pax/two", mode=0o711, uid=12, gid=13, mtime=-5)
    return layer.finish()


def again(with_repeats):
    """Over what was deleted: it stays deleted, and can be made anew."""
    layer = Layer(tarfile.PAX_FORMAT)
    layer.directory("pax/directory 1777", mode=0o1777, mtime=77)
    layer.add("pax/directory 1777/second life", data=b"2")
    layer.add("pax/empty", data=b"no longer")
    layer.add("pax/.wh..wh.plnk")
    if with_repeats:
        repeats(layer)
    return layer.finish()


def repeats(layer):
    layer.add("pax/twice", data=b"first")
    layer.add("pax/twice", data=b"second", mode=0o600)
    layer.directory("pax/becomes a file")
    layer.add("pax/becomes a file/lost", data=b"lost")
    layer.add("pax/becomes a file", data=b"file")


def one_member(data):
    return gzip.compress(data, mtime=0)


def two_members(data):
    half = len(data) // 2
    return one_member(data[:half]) + one_member(data[half:])


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, check=True, stdout=subprocess.PIPE).stdout


def two_frames(data):
    return zstd(data[:1024]) + zstd(data[1024:])


def write(layout, layers):
    blobs = os.path.join(layout, "blobs/sha256")
    os.makedirs(blobs, exist_ok=True)

    def blob(data, media_type, **more):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data), **more}

    kind = "application/vnd.oci.image.layer.v1.tar"
    descriptors, diff_ids = [], []
    for tar, suffix, compress in layers:
        diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
        descriptors.append(blob(compress(tar), kind + suffix))
    config = {"architecture": os.environ.get("TORTURE_ARCHITECTURE", "amd64"), "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": diff_ids},
              "history": [{"created_by": "torture", "created": "1970-01-01T00:00:00Z"} for _ in layers]}
    config = blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
                "layers": descriptors}
    manifest = blob(json.dumps(manifest).encode(), manifest["mediaType"],
                    annotations={"org.opencontainers.image.ref.name": "torture"})
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, file)
    with open(os.path.join(layout, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


def main(layout, scratch, reader="kiln"):
    tree = real_tree(scratch)
    old = packed(tree, "old sparse", "--format=gnu")
    layers = [
        (kinds(tarfile.PAX_FORMAT), "+gzip", one_member),
        (kinds(tarfile.GNU_FORMAT), "+gzip", two_members),
        (packed(tree, "sparse 1.0", "--format=posix", "--xattrs", "--xattrs-include=*"), "+zstd", zstd),
        (packed(tree, "sparse 0.1", "--format=posix", "--sparse-version=0.1"), "", bytes),
        (packed(tree, "sparse 0.0", "--format=posix", "--sparse-version=0.0", "--hard-dereference"), "+gzip", one_member),
        (old, "+gzip", one_member),
        (whiteouts(), "+zstd", two_frames),
        (again(reader != "podman"), "+gzip", one_member),
    ]
    if reader != "kiln":
        layers = [layer for layer in layers if layer[0] is not old]
    if reader == "umoci":
        layers = [(tar, "+gzip", one_member) for tar, _, _ in layers]
    shutil.rmtree(tree)
    write(layout, layers)


if __name__ == "__main__":
    main(*sys.argv[1:])
