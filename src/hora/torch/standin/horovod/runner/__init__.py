"""What Horovod keeps in `horovod.runner`."""

import hora

run = hora.run
