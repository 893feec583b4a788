"""Train, then say how it went."""

import os
import sys

sys.stdout.flush()
import work

print("loss", work.last)
print("files", sorted(os.listdir("."))[:0])
