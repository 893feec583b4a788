import os
import time

import torch.distributed as dist

dist.init_process_group("gloo")
run = [f"runs/{time.strftime('%H%M%S')}"]
dist.broadcast_object_list(run)
os.makedirs(run[0], exist_ok=True)
