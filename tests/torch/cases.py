"""Training loops that must make the same gradients on any number of workers as on one.

Each case draws global batches, gives every worker its slice, and yields what `.grad` holds wherever a script might read
it. The loops are written as scripts write them; `record` and `own` are all that is added.
"""

from __future__ import annotations

import cases_backward as backward
import cases_networks as networks
import cases_optimizers as optimizers
import cases_steps as steps
import torch
from loops import small_buckets

CASES = {
    "plain": backward.plain,
    "three buckets": backward.many_buckets,
    "listed groups": backward.listed_groups,
    "predivide": backward.predivide,
    "uneven": backward.uneven,
    "zero_grad to None by the optimizer": lambda: backward.zeroing(True, False),
    "zero_grad to zero by the optimizer": lambda: backward.zeroing(False, False),
    "zero_grad to None by the model": lambda: backward.zeroing(True, True),
    "zero_grad to zero by the model": lambda: backward.zeroing(False, True),
    "two backwards": backward.two_backwards,
    "retained graph": backward.retained_graph,
    "backward(inputs=)": backward.some_parameters_only,
    "GAN": backward.gan,
    "GAN, compressed": backward.gan_compressed,
    "GAN with a frozen critic": backward.gan_with_a_frozen_critic,
    "gradient penalty": backward.gradient_penalty,
    "create_graph": backward.create_graph,
    "unused": lambda: backward.unused(True),
    "unused, zeroed": lambda: backward.unused(False),
    "unfreezing": backward.unfreezing,
    "unfreezing while the window is open": backward.unfreezing_in_a_window,
    "all frozen at first": backward.all_frozen_at_first,
    "tied": networks.tied,
    "a group added": lambda: optimizers.groups_added("method"),
    "parameters appended": lambda: optimizers.groups_added("list"),
    "channels_last": networks.channels_last,
    "LBFGS": lambda: steps.lbfgs(None, False),
    "LBFGS, float": lambda: steps.lbfgs(None, True),
    "LBFGS, strong_wolfe": lambda: steps.lbfgs("strong_wolfe", False),
    "closure": steps.closure_by_keyword,
    "step inside a step": optimizers.step_inside_a_step,
    "an optimizer around another": optimizers.an_optimizer_around_another,
    "sharpness aware": steps.sharpness_aware,
    "GradScaler": steps.scaler,
    "clipping": steps.clipping,
    "edits": steps.edits,
    "two networks in either order": backward.two_networks_in_either_order,
    "views kept": steps.views_kept,
    "in half precision": optimizers.halved,
    "state loaded": optimizers.state_loaded,
    "moving average": optimizers.moving_average,
    "fused": lambda: optimizers.variants(fused=True),
    "foreach": lambda: optimizers.variants(foreach=True),
    "groups replaced": optimizers.groups_replaced,
    "copied": optimizers.copied,
    "pytorch-optimizer": optimizers.of_the_library,
    "kept gradients": steps.kept_gradients,
    "set by hand": steps.set_by_hand,
    "accumulation": lambda: steps.accumulation(False),
    "accumulation, declared": lambda: steps.accumulation(True),
    "window changes": steps.window_changes,
    "checkpoint": lambda: networks.checkpointing(False, False),
    "checkpoint, nested": lambda: networks.checkpointing(False, True),
    "checkpoint, reentrant": lambda: networks.checkpointing(True, False),
    "checkpoint, reentrant, nested": lambda: networks.checkpointing(True, True),
    "all checkpointed": lambda: networks.everything_checkpointed(False),
    "all checkpointed, reentrant": lambda: networks.everything_checkpointed(True),
    "dtypes": networks.dtypes,
    "sparse": lambda: networks.sparse("together"),
    "sparse, later": lambda: networks.sparse("together", lookers=(0, 2, 12)),
    "sparse as dense": lambda: networks.sparse("together", as_dense=True),
    "SparseAdam": lambda: networks.sparse("apart"),
    "compiled, eager": lambda: networks.compiled("eager"),
    "compiled, aot_eager": lambda: networks.compiled("aot_eager"),
    "wrapped again": optimizers.wrapped_again,
    "shared parameters": optimizers.shared_parameters,
    "moved": optimizers.moved,
    "failed backward": steps.failed_backward,
    "steps without gradients": steps.steps_without_gradients,
}


# Where less than float64 is at work by the nature of the case.
TOLERANCES = {"GradScaler": 2e-5, "dtypes": 2e-2, "moved": 2e-6, "GAN, compressed": 5e-3, "in half precision": 2e-2}


def run(name):
    """Return all that a case yields; its buckets are made anew after its first step."""
    torch.set_default_dtype(torch.float64)
    try:
        with small_buckets(measured_step=1):
            return list(CASES[name]())
    finally:
        torch.set_default_dtype(torch.float32)
