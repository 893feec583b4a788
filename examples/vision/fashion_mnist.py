"""Tell articles of clothing apart (Fashion-MNIST) with a wide residual network, on one device.

python fashion_mnist.py                    # WRN-16-4, 30 epochs
python fashion_mnist.py --quick            # WRN-10-1, 2 epochs of 4000 images, for a first look
python fashion_mnist.py --resume last.pt   # goes on where a run was stopped

The data are those of Debian's package dataset-fashion-mnist where it is installed, and else downloaded once.
"""

import argparse
import gzip
import hashlib
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# SHA-256 of the unpacked files: Debian packs the same bytes with another header.
FILES = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def download(name, folder):
    """Fetch one file; it appears in the folder only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(URL + name, timeout=60) as answer, tempfile.NamedTemporaryFile(dir=folder) as part:
        part.write(answer.read())
        part.flush()
        unpack(part.name, name)
        os.link(part.name, folder / name)


class FashionMNIST(Dataset):
    pass
