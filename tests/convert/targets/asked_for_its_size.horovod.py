# 46:11 HR207 the loader's batch_size becomes that of one worker: convert to hora
