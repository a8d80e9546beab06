"""Makes internal/npy/testdata: 0 to 5 in [2, 3] as NumPy writes them, in each of its types.

    .venv/bin/python tools/py/make_npy.py       # from the root of the repository
"""

import pathlib

import numpy as np

OUT = pathlib.Path("internal/npy/testdata")


def write(name, array, version=(1, 0)):
    with open(OUT / f"{name}.npy", "wb") as f:
        np.lib.format.write_array(f, array, version=version, allow_pickle=False)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(6).reshape(2, 3)
    for kind in ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"]:
        write(kind, numbers.astype("<" + kind))
    write("bool", numbers != 0)
    write("big_f4", numbers.astype(">f4"))
    write("big_i8", numbers.astype(">i8"))
    write("flat", numbers.astype("<i4").reshape(6))
    write("version2", numbers.astype("<f4"), (2, 0))
    write("version3", numbers.astype("<f4"), (3, 0))


if __name__ == "__main__":
    main()
