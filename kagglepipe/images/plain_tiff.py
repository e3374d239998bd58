"""Headers of plain TIFFs: one page of grey or RGB in 8 bits. Of small ones Pillow takes longer than their decoding."""

from struct import calcsize, error, unpack_from

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
COMPRESSIONS = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, deflate
MODES = {(1, 1): "L", (3, 2): "RGB"}  # by samples and photometric interpretation
USUAL = {266: 1, 274: 1, 284: 1, 339: 1, BITS: 8}  # fill order, orientation, planes, sample format
OTHERS = {254, 269, 270, 271, 272, 273, 278, 279, 282, 283, 296, 305, 306, 315, 316, 317}  # strips, resolution, names
CODES = {3: "H", 4: "I"}  # types of numbers
MOST_VALUES = 4  # of a tag, to be looked at


def read_plain_tiff(data: bytes) -> tuple[int, int, str] | None:
    """Read (width, height, Pillow's mode) of a plain TIFF; None for any other data, which Pillow is to read."""
    found: dict[int, int] = {}
    try:
        order = ORDERS[data[:4]]
        first = unpack_from(f"{order}I", data, 4)[0] + 2
        end = first + 12 * unpack_from(f"{order}H", data, first - 2)[0]
        if unpack_from(f"{order}I", data, end)[0]:  # there is another page
            return None
        for place in range(first, end, 12):
            tag, kind, length = unpack_from(f"{order}HHI", data, place)
            if tag not in OTHERS:
                values = order + CODES[kind] * min(length, MOST_VALUES)
                at = place + 8 if calcsize(values) <= 4 else unpack_from(f"{order}I", data, place + 8)[0]
                (found[tag],) = set(unpack_from(values, data, at))
        width, height = found.pop(WIDTH), found.pop(HEIGHT)
        mode = MODES[found.pop(SAMPLES, 1), found.pop(PHOTOMETRIC)]
        is_plain = found.pop(COMPRESSION) in COMPRESSIONS and BITS in found and found.items() <= USUAL.items()
    except (KeyError, ValueError, error):
        return None
    return (width, height, mode) if is_plain and width and height else None
