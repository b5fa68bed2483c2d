"""Importing this lets accelerate take processes on CPUs for processes on accelerators, so that it spreads a model over
them: on CPUs alone its state never takes FSDP up. All else is what runs on GPUs.
"""

from accelerate.state import DistributedType, PartialState

begin = PartialState.__init__


def take_for_accelerators(self, *args, **kwargs):
    begin(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_NPU


PartialState.__init__ = take_for_accelerators
