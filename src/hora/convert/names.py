"""Names of libraries that are known by what they do: tables, what follows from them is said where they are used."""

from __future__ import annotations

OF_DATA = frozenset({"DataLoader", "Dataset", "TensorDataset", "IterableDataset", "random_split", "Subset"})
OF_OPTIM = frozenset({"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam", "LBFGS", "Rprop"})
LOADERS = frozenset({"torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader"})
PRINTERS = frozenset({
    "builtins.print", "pprint.pprint", "sys.stdout.write", "sys.stderr.write", "sys.stdout.flush", "rich.print",
    "click.echo", "typer.echo", "click.secho", "tqdm.tqdm.write", "tqdm.auto.tqdm.write",
})  # fmt: skip
CLOCKS = ("time.", "datetime.", "os.getpid", "socket.", "uuid.", "tempfile.", "builtins.input", "psutil.", "timeit.")
BARS = frozenset({"tqdm.tqdm", "tqdm.auto.tqdm", "tqdm.notebook.tqdm", "tqdm.autonotebook.tqdm", "rich.progress.track"})
SAVERS = frozenset({
    "torch.save", "pickle.dump", "joblib.dump", "numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt",
    "json.dump", "yaml.dump", "os.makedirs", "os.mkdir", "os.remove", "os.unlink", "os.rename", "os.replace",
    "os.rmdir", "shutil.rmtree", "shutil.copy", "shutil.copyfile", "shutil.move", "torchvision.utils.save_image",
    "os.system",
})  # fmt: skip
PICTURES = (
    "matplotlib.", "seaborn.", "cv2.imwrite", "imageio.", "PIL.", "scipy.misc.", "tensorflow.Summary",
    "tensorflow.summary.", "wandb.Image", "wandb.Histogram",
)  # fmt: skip
SHOWS = frozenset({
    "add_image", "add_images", "add_figure", "add_embedding", "add_graph", "add_video", "add_pr_curve",
    "add_histogram", "save_image", "imshow", "imwrite", "Image",
})  # fmt: skip
SHUFFLING = frozenset({"sample", "shuffle", "train_test_split", "permutation", "choice", "random_split"})
SEEDED = frozenset({"seed", "random_state", "generator"})
RUNNERS = frozenset({"fire.Fire", "typer.run", "absl.app.run", "tensorflow.app.run", "tyro.cli"})
STREAMS = frozenset({
    "itertools.cycle", "itertools.islice", "fastprogress.progress_bar", "fastprogress.master_bar",
    "more_itertools.peekable",
})  # fmt: skip
LOSSES = frozenset({
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "kl_div", "binary_cross_entropy_with_logits", "hinge_embedding_loss", "margin_ranking_loss", "multi_margin_loss",
    "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss", "cosine_embedding_loss",
    "triplet_margin_loss", "poisson_nll_loss", "gaussian_nll_loss", "ctc_loss", "triplet_margin_with_distance_loss",
})  # fmt: skip
CRITERIA = {
    "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss", "NLLLoss2d": "nll_loss", "MSELoss": "mse_loss",
    "L1Loss": "l1_loss", "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss", "BCELoss": "binary_cross_entropy",
    "KLDivLoss": "kl_div", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "CTCLoss": "ctc_loss",
    "HingeEmbeddingLoss": "hinge_embedding_loss", "MarginRankingLoss": "margin_ranking_loss",
    "MultiMarginLoss": "multi_margin_loss", "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss", "SoftMarginLoss": "soft_margin_loss",
    "CosineEmbeddingLoss": "cosine_embedding_loss", "TripletMarginLoss": "triplet_margin_loss",
    "PoissonNLLLoss": "poisson_nll_loss", "GaussianNLLLoss": "gaussian_nll_loss",
}  # fmt: skip
NETWORKS = (
    "torchvision.models.", "efficientnet_pytorch.EfficientNet", "pretrainedmodels.", "monai.networks.nets.",
)  # fmt: skip
SYNCHRONISED = frozenset({
    "apex.parallel.convert_syncbn_model", "torch.nn.SyncBatchNorm.convert_sync_batchnorm",
    "hora.torch.SyncBatchNorm.convert_sync_batchnorm",
})  # fmt: skip
NORMED = frozenset({
    "torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm", "torch.nn.utils.remove_weight_norm",
    "torch.nn.utils.remove_spectral_norm", "torch.nn.utils.parametrizations.weight_norm",
    "torch.nn.utils.parametrizations.spectral_norm", "torch.nn.utils.parametrizations.orthogonal",
})  # fmt: skip
RECURRENT = frozenset({"torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN"})
PAIRS = frozenset({"torch.nn.LSTMCell", "torch.nn.MultiheadAttention"})
WITHOUT_WEIGHTS = frozenset({
    "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh", "Softmax",
    "LogSoftmax", "Softplus", "Softsign", "Hardtanh", "Hardswish", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "AlphaDropout", "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "Upsample",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool2d", "Flatten", "Unflatten",
    "Identity", "ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d", "ConstantPad2d", "PixelShuffle",
    "UpsamplingBilinear2d", "UpsamplingNearest2d", "CosineSimilarity", "PairwiseDistance", "Fold", "Unfold",
    "DataParallel",
})  # fmt: skip
SPREADERS = frozenset({
    "torch.nn.DataParallel", "torch.nn.parallel.DataParallel", "torch.nn.parallel.data_parallel",
    "torch.nn.parallel.data_parallel.DataParallel", "torch.nn.parallel.data_parallel.data_parallel",
})  # fmt: skip
MODULE_METHODS = frozenset({
    "add_module", "append", "apply", "bfloat16", "buffers", "children", "compile", "cpu", "cuda", "double", "eval",
    "extend", "extra_repr", "float", "forward", "get_buffer", "get_parameter", "get_submodule", "half", "insert",
    "load_state_dict", "modules", "named_buffers", "named_children", "named_modules", "named_parameters", "parameters",
    "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_module", "register_parameter", "requires_grad_", "share_memory",
    "state_dict", "to", "to_empty", "train", "type", "zero_grad", "_conv_forward",
})  # fmt: skip
PARALLEL = "torch.nn.parallel.DistributedDataParallel"
MOVES = frozenset({"to", "cuda", "cpu", "half", "float", "double", "bfloat16"})
CONTAINERS = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"})
SAME = frozenset({
    "to", "cuda", "cpu", "train", "eval", "half", "float", "double", "bfloat16", "apply", "requires_grad_",
    "share_memory", "type", "to_empty", "compile",
})  # fmt: skip
