"""Mutations of `grids` and `tasks`: what is trained, on which data, and how it is scored."""

from tests.mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "languages of a mixture not sorted", "grids/mixture.py",
        "for item in sorted(stage.items())", "for item in stage.items()",
        "ca+es and es+ca are two trainings", ("tests/grids/test_mixture.py",),
    ),
    Mutation(
        "self-gain with N instead of 2 N", "grids/grid.py",
        "Mixture.of({code: 2 * size}) for code in codes", "Mixture.of({code: size}) for code in codes",
        "P(i+i) is P(i), every denominator 0", ("tests/grids/test_grid.py",),
    ),
    Mutation(
        "donor is the target", "grids/mixture.py",
        'return "cross", others[0]', 'return "cross", language',
        "every cell of a row lands on the diagonal", ("tests/grids/test_mixture.py",),
    ),
    Mutation(
        "pairs with seeds of their own", "grids/seeds.py",
        "odd = sorted({*seeds} - {*base})", "odd = []",
        "gains are no longer paired", ("tests/grids/test_seeds.py",),
    ),
    Mutation(
        "atomic rename removed", "grids/files.py",
        "partial.replace(path)", "path.write_bytes(partial.read_bytes())",
        "a reader or a crash sees half a result", ("tests/engine/test_store.py",),
    ),
    Mutation(
        "seed ignored in drawing", "tasks/data/blocks.py",
        'key = "fixed" if seed is None else str(seed)', 'key = "fixed"',
        "the spread over seeds leaves the data's out", ("tests/tasks/data/test_blocks.py",),
    ),
    Mutation(
        "test clips in training blocks", "tasks/data/blocks.py",
        'clip.split == "train" and not _lacks', "not _lacks",
        "scores on clips that were trained on", ("tests/tasks/data/test_blocks.py",),
    ),
    Mutation(
        "speakers give as many clips as they have", "tasks/data/blocks.py",
        "drawn += by_hash[:clips_per_speaker]", "drawn += by_hash",
        "budgets are no longer matched", ("tests/tasks/data/test_blocks.py",),
    ),
    Mutation(
        "speaker of test in training", "tasks/data/selection.py",
        '((("test",), ("dev", "train")), (("dev",), ("train",)))', '((("dev",), ("train",)),)',
        "scores on speakers that were trained on", ("tests/tasks/data/test_selection.py",),
    ),
    Mutation(
        "speaker in two languages", "tasks/data/selection.py",
        "{r.speaker for r in rows} & visitors", "set()",
        "a donor's block holds the target's test speakers", ("tests/tasks/data/test_prepare.py",),
    ),
    Mutation(
        "quotes in a table are no text", "tasks/data/common_voice.py",
        'yield number, text.split("\\t")', 'import csv; yield number, next(csv.reader([text], delimiter="\\t"))',
        "sentences with quote marks swallow fields", ("tests/tasks/data/test_common_voice.py",),
    ),
    Mutation(
        "resampling dropped", "tasks/data/audio.py",
        "if rate_hz != SAMPLE_RATE_HZ:", "if False:",
        "48 kHz clips are three times too slow", ("tests/tasks/data/test_audio.py",),
    ),
    Mutation(
        "samples wrap around", "tasks/data/audio.py",
        "np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)", "np.rint(wave * FULL_SCALE).astype(int)",
        "loud clips crackle", ("tests/tasks/data/test_audio.py",),
    ),
    Mutation(
        "too long a clip is kept", "tasks/data/decoding.py",
        "    if seconds > rules.max_seconds:", "    if False:",
        "max_seconds does nothing", ("tests/tasks/data/test_prepare.py",),
    ),
    Mutation(
        "too short a clip is kept", "tasks/data/decoding.py",
        "if seconds < rules.min_seconds:", "if False:",
        "min_seconds does nothing", ("tests/tasks/data/test_prepare.py",),
    ),
    Mutation(
        "truncated clip is kept", "tasks/data/decoding.py",
        "if row.seconds is not None and seconds < row.seconds - allowed:", "if False:",
        "a download that was cut off is trained on", ("tests/tasks/data/test_prepare.py",),
    ),
    Mutation(
        "data hash without samples", "tasks/data/store.py",
        "clip.sentence, clip.split, clip.sha)", "clip.sentence, clip.split)",
        "changed audio passes for the old", ("tests/tasks/data/test_prepare.py",),
    ),
    Mutation(
        "changed tables not read again", "tasks/data/prepare.py",
        "return kept.fingerprint == fingerprint and same", "return same",
        "a new release is never seen", ("tests/tasks/data/test_prepare.py",),
    ),
    Mutation(
        "mask dropped in pooling", "tasks/encoder.py",
        "return (hidden_KFH * weights_KF1).sum(1) / weights_KF1.sum(1)", "return hidden_KFH.mean(1)",
        "a clip's embedding depends on its batch", ("tests/tasks/test_contract.py",),
    ),
    Mutation(
        "mask dropped in normalisation of waves", "tasks/encoder.py",
        "mean_K1 = (values_KT * valid_KT).sum(1, keepdim=True) / count_K1",
        "mean_K1 = values_KT.mean(1, keepdim=True)",
        "a clip's wave depends on its batch", ("tests/tasks/test_backbones.py",),
    ),
    Mutation(
        "mask dropped in group norm", "tasks/kernels.py",
        "mean_KC1 = (values_KCF * valid_K1F).sum(2, keepdim=True) / counts_K11",
        "mean_KC1 = values_KCF.mean(2, keepdim=True)",
        "mHuBERT's outputs depend on padding", ("tests/tasks/test_backbones.py",),
    ),
    Mutation(
        "attention sees padding", "tasks/encoder.py",
        "hidden_KFH = layer(hidden_KFH, attention_mask=mask)", "hidden_KFH = layer(hidden_KFH, attention_mask=None)",
        "a clip's outputs depend on its batch", ("tests/tasks/test_backbones.py",),
    ),
    Mutation(
        "weights not restored between trials", "tasks/backbones.py",
        "return copy.deepcopy(_resident(resolve(model.backbone), model, _device.get()))",
        "return _resident(resolve(model.backbone), model, _device.get())",
        "a trial goes on from the one before", ("tests/tasks/test_backbones.py",),
    ),
    Mutation(
        "groups mixed up in the product", "tasks/kernels.py",
        "windows_KNGIW.permute(2, 0, 1, 4, 3)", "windows_KNGIW.flip(2).permute(2, 0, 1, 4, 3)",
        "the positional convolution is another one on a GPU", ("tests/tasks/test_kernels.py",),
    ),
    Mutation(
        "padding in the norm of a product", "tasks/kernels.py",
        "(windows_KFW * within(counts_K, windows_KFW.shape[1])[:, :, None]).double()", "windows_KFW.double()",
        "a clip's outputs depend on its batch on a GPU", ("tests/tasks/test_kernels.py",),
    ),
    Mutation(
        "a tap of a strided product left out", "tasks/kernels.py",
        "for first in range(0, width, stride):", "for first in range(0, width - stride + 1, stride):",
        "scores on a GPU are of another network", ("tests/tasks/test_kernels.py",),
    ),
    Mutation(
        "SpecAugment masks padding", "tasks/encoder.py",
        "attention_mask=cast(Any, within(frames_K, int(own)).long())", "attention_mask=None",
        "a clip's masks depend on its batch", ("tests/tasks/test_encoder.py",),
    ),
    Mutation(
        "the device is asked whether it is padded", "tasks/encoder.py",
        'if mask_KF.device.type == "cpu" and not self.kernels.attention:', "if True:",
        "the host waits for the GPU in each step", ("tests/tasks/test_encoder.py",),
    ),
    Mutation(
        "rows without a class are likely", "tasks/examples.py",
        "NEVER = -1e4", "NEVER = 0.0",
        "padded heads learn something else", ("tests/engine/test_graphs.py",),
    ),
    Mutation(
        "SpecAugment as the backbone says", "tasks/backbones.py",
        "    config.apply_spec_augment = model.spec_augment\n", "",
        "clips are masked though nobody asked", ("tests/tasks/test_backbones.py",),
    ),
    Mutation(
        "seed ignored in the head", "tasks/examples.py",
        'keyed("head", seed, name)', 'keyed("head", name)',
        "all seeds start from one head", ("tests/tasks/test_contract.py",),
    ),
    Mutation(
        "head depends on the other classes", "tasks/examples.py",
        'keyed("head", seed, name)', 'keyed("head", seed, len(names), name)',
        "P(i) and P(i+j) are no longer paired", ("tests/tasks/test_contract.py",),
    ),
    Mutation(
        "seed ignored in the order", "tasks/examples.py",
        'keyed("order", seed, epoch, ', 'keyed("order", epoch, ',
        "all seeds see one order", ("tests/tasks/test_contract.py",),
    ),
    Mutation(
        "every epoch in one order", "tasks/examples.py",
        'keyed("order", seed, epoch, ', 'keyed("order", seed, ',
        "epochs repeat their batches", ("tests/tasks/test_contract.py",),
    ),
    Mutation(
        "embedding of the first layers", "tasks/speaker/mhubert.py",
        "torch.stack(frames.hidden).float()", "torch.stack(frames.hidden[:1]).float()",
        "the option layers means others", ("tests/tasks/speaker",),
    ),
    Mutation(
        "EER at the nearest point", "tasks/metrics.py",
        "return float(rate), float(self.thresholds[nearest])",
        "return float(self.false_accept[nearest]), float(self.thresholds[nearest])",
        "EER jumps between points of the curve", ("tests/tasks/test_metrics.py",),
    ),
    Mutation(
        "minDCF not normalised", "tasks/metrics.py",
        " / min(prior, 1 - prior))", ")",
        "minDCF is a hundredth of what others print", ("tests/tasks/test_metrics.py",),
    ),
    Mutation(
        "minDCF with costs exchanged", "tasks/metrics.py",
        "prior * self.miss + (1 - prior) * self.false_accept", "(1 - prior) * self.miss + prior * self.false_accept",
        "misses count as false accepts", ("tests/tasks/test_metrics.py",),
    ),
    Mutation(
        "F1 of the classes that occur", "tasks/metrics.py",
        "labels=range(classes), ", "",
        "a class that is neither there nor guessed is left out of the mean", ("tests/tasks/test_metrics.py",),
    ),
    Mutation(
        "phones counted as characters", "tasks/asr/scoring.py",
        "        main = errors(references, hypotheses, words=True)",
        "        main = errors(references, hypotheses, words=False)",
        "an affricate counts twice, and spaces count", ("tests/tasks/asr/test_phones.py",),
    ),
    Mutation(
        "phones left with their stress", "tasks/asr/phones.py",
        '"͡": None, "ˈ": None, ', '"͡": None, ',
        "a stressed vowel is another phone", ("tests/tasks/asr/test_phones.py",),
    ),
)  # fmt: skip
