import hora.torch as hvd
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 8
if hvd.rank() == 0:
    print("device", DEVICE)
