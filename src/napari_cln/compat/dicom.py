"""Private parts of pydicom.

================== ============================= ========================================================
here               what it leans on              goes
================== ============================= ========================================================
`read_file_meta`   ``_read_file_meta_info``      when pydicom reads the meta information of an open file:
                                                 its public ``read_file_meta_info`` takes a path alone
================== ============================= ========================================================
"""

from __future__ import annotations

from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info

__all__ = ["read_file_meta"]


def read_file_meta(file: BinaryIO) -> FileMetaDataset:
    """Read the file meta information (group 0002) of an open DICOM file.

    Parameters
    ----------
    file : binary file
        Behind its preamble; left where the data set begins.
    """
    return _read_file_meta_info(file)
