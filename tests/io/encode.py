"""Pictures and headers as a scanner or a converter may store them."""

import io

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.encoders import RLELosslessEncoder


def jpeg(pixels, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def rle(pixels) -> bytes:
    return RLELosslessEncoder.encode(
        pixels,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=3,
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        photometric_interpretation="RGB",
        planar_configuration=0,
        number_of_frames=1,
        encoding_plugin="pydicom",
    )


def ycbcr(pixels):
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


def palette(colours, bits=16, order="<"):
    depth = f"{order}u2"
    names = ("Red", "Green", "Blue")
    values = {f"{name}PaletteColorLookupTableDescriptor": [len(colours), 0, bits] for name in names}
    for channel, name in enumerate(names):
        values[f"{name}PaletteColorLookupTableData"] = colours[:, channel].astype(depth).tobytes()
    return {"PhotometricInterpretation": "PALETTE COLOR", **values}


def region(
    box: tuple[int, int, int, int] = (10, 20, 400, 600),
    delta_cm: tuple[float, float] = (0.02, 0.02),
    *,
    spatial_format: int = 1,
    data_type: int = 1,
    units: tuple[int, int] = (3, 3),
) -> Dataset:
    """An item of Sequence of Ultrasound Regions; `box` as a header writes it, its last row included."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 2
    item.RegionLocationMinY0, item.RegionLocationMinX0 = box[:2]
    item.RegionLocationMaxY1, item.RegionLocationMaxX1 = box[2:]
    item.PhysicalUnitsYDirection, item.PhysicalUnitsXDirection = units
    item.PhysicalDeltaY, item.PhysicalDeltaX = delta_cm
    return item
