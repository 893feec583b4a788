from .small import *
from .big import small_wide, Wide
