"""`horovod.data`: Hora's."""

from hora.data import AsyncDataLoaderMixin as AsyncDataLoaderMixin
from hora.data import BaseDataLoader as BaseDataLoader
