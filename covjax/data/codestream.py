"""What compressed DICOM data claims of its own size, looked at before it is decoded.

A decoder takes memory for what a stream claims, and a few damaged bytes there can
claim gigabytes. Sources: ITU T.81 B.2.2 (JPEG), T.87 C.2.2 (JPEG-LS), T.800 A.5.1
(JPEG 2000), DICOM PS3.10 (file meta information), PS3.5 A.5 (deflated data).
"""

import zlib

from covjax.errors import InputError

MAX_INFLATED = 2**28  # bytes of a deflated data set; 8192 x 8192 at 16 bit is half
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def check(data: bytes, rows: int, columns: int, name: str) -> None:
    """Raises `InputError` where a compressed frame has another size than stated."""
    size = dimensions(data)
    if size is not None and size != (rows, columns):
        raise InputError(
            f"{name}: damaged DICOM file (the compressed picture is {size[0]} x "
            f"{size[1]}, its header says {rows} x {columns})"
        )


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 stream; None for others."""
    start = data.find(b"\xff\x4f\xff\x51")  # SOC and SIZ of JPEG 2000
    if 0 <= start < 256:  # boxes of a JP2 file may come before
        siz = [
            int.from_bytes(data[start + at : start + at + 4], "big")
            for at in (8, 12, 16, 20)  # XSIZ, YSIZ, XOSIZ, YOSIZ, after Lsiz and Rsiz
        ]
        return siz[1] - siz[3], siz[0] - siz[2]
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        frame_header = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if frame_header or marker == 0xF7:  # SOFn of JPEG, SOF55 of JPEG-LS
            rows = int.from_bytes(data[at + 5 : at + 7], "big")
            return rows, int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def check_deflated(content: bytes, name: str) -> None:
    """Raises `InputError` where a deflated file unpacks to over `MAX_INFLATED`."""
    if _DEFLATED not in content[:2048]:
        return
    # preamble, DICM, (0002,0000) UL 4: then the number of bytes to the data set
    data = content[144 + int.from_bytes(content[140:144], "little") :]
    inflate, total = zlib.decompressobj(wbits=-15), 0
    while data and not inflate.eof and total <= MAX_INFLATED:
        total += len(inflate.decompress(data, 2**20))
        data = inflate.unconsumed_tail
    if total > MAX_INFLATED:
        raise InputError(f"{name}: unpacks to more than {MAX_INFLATED} bytes")
