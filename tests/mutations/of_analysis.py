"""Mutations of `analysis`: what the scores mean."""

from tests.mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "sign of the gain", "analysis/uncertainty.py",
        "x=mean[..., CROSS] - mean[..., BASE]", "x=mean[..., BASE] - mean[..., CROSS]",
        "help is harm", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "sign of the self-gain", "analysis/uncertainty.py",
        "y=mean[..., SELF] - mean[..., BASE]", "y=mean[..., BASE] - mean[..., SELF]",
        "every r changes its sign", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "target and donor exchanged", "analysis/scores.py",
        "(target[row], donor[row], seed[row])", "(donor[row], target[row], seed[row])",
        "the matrix is transposed", ("tests/analysis/test_matrix.py",),
    ),
    Mutation(
        "target and donor exchanged in a scores CSV", "analysis/scores_csv.py",
        'row["lang_src"], row["lang_tgt"]\n', 'row["lang_tgt"], row["lang_src"]\n',
        "the published scores give the transposed matrix", ("tests/analysis/test_sources.py",),
    ),
    Mutation(
        "target and donor exchanged in a matrix CSV", "analysis/matrix_csv.py",
        "values = values[:, [donors.index(target) for target in targets]]",
        "values = values[:, [donors.index(target) for target in targets]].T",
        "a published matrix is transposed", ("tests/analysis/test_matrix_csv.py",),
    ),
    Mutation(
        "columns in the order of the header", "analysis/matrix_csv.py",
        "values = values[:, [donors.index(target) for target in targets]]", "pass",
        "donors have each other's numbers", ("tests/analysis/test_matrix_csv.py",),
    ),
    Mutation(
        "mean of ratios", "analysis/matrix.py",
        "ratio = np.where(m.y == 0, np.nan, m.x / m.y)",
        "ratio = ((cross - scores.base[:, None]) / (scores.self_ - scores.base)[:, None]).mean(axis=-1)",
        "a weak denominator turns r over", ("tests/analysis/test_matrix.py",),
    ),
    Mutation(
        "ddof 0", "analysis/uncertainty.py",
        "sample = products.sum(axis=-1) / (shared - 1)", "sample = products.sum(axis=-1) / shared",
        "intervals too narrow", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "ddof 0 in the prior", "analysis/inference.py",
        "e.var(ddof=1)", "e.var()",
        "variances drawn together too much", ("tests/analysis/test_inference.py",),
    ),
    Mutation(
        "degrees of freedom of the largest count", "analysis/uncertainty.py",
        "df=np.maximum(count.min(axis=-1) - 1, 0)", "df=np.maximum(count.max(axis=-1) - 1, 0)",
        "few pairs pass for many", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "pairing of seeds lost", "analysis/uncertainty.py",
        "return np.where(shared >= 2, covariance,", "return np.where((shared >= 2) & diagonal, covariance,",
        "intervals far too wide", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "Fieller's centre with the other sign", "analysis/uncertainty.py",
        "middle = (m.x * m.y - q2 * m.s_xy) / a", "middle = (m.x * m.y + q2 * m.s_xy) / a",
        "intervals lie beside r", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "Fieller's width with the other sign", "analysis/uncertainty.py",
        "m.s_xx - 2 * m.x * m.y * m.s_xy", "m.s_xx + 2 * m.x * m.y * m.s_xy",
        "intervals of the wrong width", ("tests/analysis/test_uncertainty.py",),
    ),
    Mutation(
        "self-gain lost in noise is divided by", "analysis/matrix.py",
        "((g >= 1) | (np.isnan(g) & (m.y <= 0)), Status.UNDEFINED)", "(np.isnan(g) & (m.y <= 0), Status.UNDEFINED)",
        "noise divided by noise stands in the matrix", ("tests/analysis/test_matrix.py",),
    ),
    Mutation(
        "negative self-gain is divided by", "analysis/matrix.py",
        "(m.y < 0, Status.NEGATIVE)", "(m.y < -9, Status.NEGATIVE)",
        "every sign of a row is turned", ("tests/analysis/test_matrix.py",),
    ),
    Mutation(
        "diagonal in the aggregates", "analysis/matrix.py",
        "used: Bools = np.isin(self.status, USED) & self.off_diagonal", "used: Bools = np.isin(self.status, USED)",
        "ones that mean nothing raise every share", ("tests/analysis/test_diagnostics.py",),
    ),
    Mutation(
        "missing scores are 0", "analysis/scores.py",
        '"cross": np.full((n, n, s), np.nan)', '"cross": np.zeros((n, n, s))',
        "a hole is the worst donor", ("tests/analysis/test_scores.py",),
    ),
    Mutation(
        "selection on outcome", "analysis/uncertainty.py",
        "scores = np.stack(np.broadcast_arrays(cross, base, self_), axis=-2)",
        "scores = np.stack(np.broadcast_arrays(cross, base, np.where(self_ > base, self_, np.nan)), axis=-2)",
        "seeds with a negative self-gain vanish: noise becomes a finding", ("tests/analysis/test_matrix.py",),
    ),
    Mutation(
        "higher_is_better ignored", "analysis/folders.py",
        'inverted=not bool(frame["higher_is_better"].iloc[0])', "inverted=False",
        "of error rates, M and the metrics' agreement are wrong", ("tests/analysis/test_matrix.py",),
    ),
    Mutation(
        "higher_is_better ignored in a scores CSV", "analysis/scores_csv.py",
        "inverted=not METRICS[metric]", "inverted=False",
        "likewise for published scores", ("tests/analysis/test_sources.py",),
    ),
    Mutation(
        "higher_is_better ignored in curves", "analysis/interval.py",
        'inverted = not bool(frame["higher_is_better"].iloc[0])', "inverted = False",
        "the N recommended is the one that hurts", ("tests/analysis/test_interval.py",),
    ),
    Mutation(
        "conditions in the matrix", "analysis/folders.py",
        '(frame["condition"] == "") & frame["role"].isin(MATRIX_ROLES)', 'frame["role"].isin(MATRIX_ROLES)',
        "scores under noise are mixed into the primary ones", ("tests/analysis/test_scores.py",),
    ),
    Mutation(
        "conditions in the curves", "analysis/folders.py",
        'wanted += [] if conditions else [("condition", "=", "")]', "pass",
        "scores under noise are mixed into the learning curves", ("tests/analysis/test_interval.py",),
    ),
    Mutation(
        "percent taken for fractions", "analysis/scores_csv.py",
        "1.0 if metric in FRACTIONS else LARGEST", "LARGEST",
        "gains a hundred times too large", ("tests/analysis/test_sources.py",),
    ),
    Mutation(
        "families exchanged", "analysis/matrix.py",
        "        families=tuple(families),\n        metric=scores.metric,",
        "        families=tuple(families)[::-1],\n        metric=scores.metric,",
        "intra-family shares are of other languages",
        ("tests/analysis/test_matrix.py", "tests/analysis/test_command.py"),
    ),
    Mutation(
        "unknown families are one", "analysis/families.py",
        'family or f"\\0{position}"', "family",
        "languages that the table lacks are related", ("tests/analysis/test_families.py",),
    ),
    Mutation(
        "bootstrap of cells instead of seeds", "analysis/replicates.py",
        "(_means(values, weights) for values in (scores.base, scores.self_, scores.cross))",
        "(_means(v, np.roll(weights, k, axis=1)) for k, v in enumerate((scores.base, scores.self_, scores.cross)))",
        "seeds are no longer paired, supports too low", ("tests/analysis/test_structure.py",),
    ),
    Mutation(
        "jackknife's factor dropped", "analysis/replicates.py",
        "np.sqrt((count - 1) / count * (", "np.sqrt(1 / count * (",
        "intervals of aggregates far too narrow", ("tests/analysis/test_structure.py",),
    ),
    Mutation(
        "noise floor of the asymmetry without covariance", "analysis/resampling.py",
        "((m.parts - m.parts.transpose(1, 0, 2)) ** 2)", "(m.parts**2 + m.parts.transpose(1, 0, 2) ** 2)",
        "r_ij and r_ji pass for two trainings", ("tests/analysis/test_resampling.py",),
    ),
    Mutation(
        "step-up dropped", "analysis/structure.py",
        "out[known] = false_discovery_control(np.clip(p[known], 0.0, 1.0))",
        "out[known] = p[known] * known.sum() / (p[known].argsort().argsort() + 1)",
        "q may fall where p rises", ("tests/analysis/test_structure.py",),
    ),
    Mutation(
        "no correction for many cells", "analysis/inference.py",
        "q = adjusted(np.where(off, p, np.nan))", "q = np.where(off, p, np.nan)",
        "one cell in twenty is a finding", ("tests/analysis/test_inference.py",),
    ),
    Mutation(
        "verification sees nothing", "analysis/verify.py",
        "return both_nan or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)", "return True",
        "a changed report agrees", ("tests/analysis/test_verify.py",), slow=True,
    ),
    Mutation(
        "predictions of all conditions resampled together", "analysis/item_noise.py",
        """items["condition"] if "condition" in items else pd.Series""",
        """items["condition"] if "conditions" in items else pd.Series""",
        "the test set's noise is that of other scores", ("tests/analysis/test_item_noise.py",),
    ),
)  # fmt: skip
