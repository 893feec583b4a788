# 16:82 HR304 training and evaluation share this count: convert to hora
