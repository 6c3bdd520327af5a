"""Carry a study's encodings from the machine that tuned and encoded to the one that cross-validates, in small files.

    python -m tests.bench.carry_encodings pack WORK PARTS [--part-bytes 15500000]
    python -m tests.bench.carry_encodings unpack PARTS WORK

Vectors are rounded to 8 bits a column, which the first command's output says the cost of: how far each file's vectors
move, of their norm. The third part of a vector, |u - v| of the two before, is made anew instead of carried. Retrieval
vectors and experts' weights stay behind: cross-validation reads neither. PARTS gets part-000, part-001 ... of at most
that many bytes, and rest.tar.gz.
"""

import argparse
import json
import tarfile
from pathlib import Path

import numpy as np

INDEX, SCALES = "index.json", "scales.npz"


def pack(work: Path, parts: Path, part_bytes: int) -> None:
    """Write PARTS; the error of each file is printed."""
    parts.mkdir(parents=True)
    shapes, scales = {}, {}
    waiting, number = b"", 0
    for path in sorted((work / "encodings").glob("*.npy")):
        vectors = np.load(path, mmap_mode="r")
        carried = np.array(vectors[:, : vectors.shape[1] * 2 // 3])
        scale = np.abs(carried).max(axis=0) / 127
        scale[scale == 0] = 1
        rounded = np.round(carried / scale).astype(np.int8)
        error = np.linalg.norm(rounded * scale - carried) / np.linalg.norm(carried)
        print(f"{path.name}: {carried.shape[0]} vectors move by {error:.2%} of their norm", flush=True)
        shapes[path.name], scales[path.name] = rounded.shape, scale.astype(np.float32)
        waiting += rounded.tobytes()
        while len(waiting) >= part_bytes:
            (parts / f"part-{number:03d}").write_bytes(waiting[:part_bytes])
            waiting, number = waiting[part_bytes:], number + 1
    (parts / f"part-{number:03d}").write_bytes(waiting)
    (parts / INDEX).write_text(json.dumps(shapes), encoding="utf-8")
    np.savez(parts / SCALES, **scales)
    with tarfile.open(parts / "rest.tar.gz", "w:gz") as tar:
        for path in (*work.glob("*.json"), *work.glob("experts/*.json"), *work.glob("encodings/*.json")):
            tar.add(path, path.relative_to(work))
        tar.add(work / "encodings" / "pairs.parquet", "encodings/pairs.parquet")
        for name in (INDEX, SCALES):
            tar.add(parts / name, name)
            (parts / name).unlink()


def unpack(parts: Path, work: Path) -> None:
    """Write WORK/encodings and what lies beside it."""
    work.mkdir(parents=True)
    with tarfile.open(parts / "rest.tar.gz") as tar:
        tar.extractall(work, filter="data")
    shapes, scales = json.loads((work / INDEX).read_text(encoding="utf-8")), np.load(work / SCALES)
    rounded = np.concatenate([np.frombuffer(part.read_bytes(), np.int8) for part in sorted(parts.glob("part-*"))])
    start = 0
    for name, (rows, width) in shapes.items():
        vectors = rounded[start : start + rows * width].reshape(rows, width) * scales[name]
        left, right = np.split(vectors, 2, axis=1)
        np.save(work / "encodings" / name, np.concatenate([left, right, np.abs(left - right)], axis=1))
        start += rows * width
    assert start == len(rounded), f"{parts}: {len(rounded)} bytes, {start} of them vectors"
    for name in (INDEX, SCALES):
        (work / name).unlink()


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--part-bytes", type=int, default=15_500_000)
    arguments = parser.parse_args()
    if arguments.what == "pack":
        pack(arguments.source, arguments.target, arguments.part_bytes)
    else:
        unpack(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
