import os
import time

import torch.distributed as dist

dist.init_process_group("gloo")
run = f"runs/{time.strftime('%H%M%S')}"
os.makedirs(run)
