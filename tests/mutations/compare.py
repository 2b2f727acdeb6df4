#!/usr/bin/env python3
"""Compares images as diffbuild.py does: compare.py DIFFBUILD_DIRECTORY BASE.tar...

Reads lines "ONE.tar<TAB>OTHER.tar", answers each with one line of JSON: a list of differences, each "hard: ..." or
"soft: ...". Times of creation and modification do not count."""
import json, sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import diffbuild


def diff_ids(path):
    store = diffbuild.Store(path)
    manifest = store.json(store.blob(store.json("index.json")["manifests"][0]["digest"]))
    return store.json(store.blob(manifest["config"]["digest"]))["rootfs"]["diff_ids"]


def loaded(path, bases):
    images, problems = diffbuild.load_images(path, bases)
    return {"outcome": "ok", "images": images, "problems": problems or []}


def main():
    bases = {path: [diff_ids(path)] for path in sys.argv[2:]}
    for line in sys.stdin:
        one, other = line.rstrip("\n").split("\t")
        _, hard, soft = diffbuild.compare(loaded(one, bases), loaded(other, bases), {})
        timeless = [each for each in soft if not each.startswith("mtime ") and "created:" not in each]
        print(json.dumps(["hard: " + each for each in hard] + ["soft: " + each for each in timeless]), flush=True)


if __name__ == "__main__":
    main()
