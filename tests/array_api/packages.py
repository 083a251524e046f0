"""Functions of SciPy and scikit-learn on tensors and in a traced function, beside NumPy's arrays.

``SCIPY_ARRAY_API=1 python -m tests.array_api.packages`` writes the page; it needs scikit-learn.
"""

import importlib
import os
import re
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import scipy

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, ImmutableError, SymbolicValueError

PAGE = Path(__file__).parents[2] / "benchmarks" / "results" / "packages" / "array_packages.md"
#: Calls of SciPy by modules, between semicolons: x, y, few, grid and p (between 0 and 1) are
#: vectors, X, m, s (positive definite) and image matrices, xp is the namespace of the arrays.
SCIPY = {
    "stats": """
        zscore(x); pearsonr(x, y).statistic; skew(x); kurtosis(x); moment(x, 3); sem(x);
        variation(p); gmean(p); hmean(p); pmean(p, 2); ttest_1samp(x, 0.0).pvalue;
        ttest_ind(x, y).pvalue; ttest_rel(x, y).pvalue; normaltest(x).pvalue;
        skewtest(x).pvalue; kurtosistest(x).pvalue; jarque_bera(x).pvalue; iqr(x);
        quantile(x, 0.3); entropy(p); directional_stats(X).mean_direction;
        chisquare(few).pvalue; bartlett(x, y).pvalue; combine_pvalues(p).pvalue;
        tmean(x, (-1, 1)); tvar(x, (-1, 1)); boxcox_llf(0.5, p); rankdata(x);
        spearmanr(x, y).statistic; linregress(x, y).slope; Normal(mu=0.0, sigma=1.0).pdf(x);
        circmean(x); false_discovery_control(p)""",
    "special": """
        logsumexp(x); softmax(x); log_softmax(x); erf(x); gammaln(p); betainc(2.0, 3.0, p);
        xlogy(p, p); ndtri(p); expit(x)""",
    "linalg": """
        det(s); inv(s); expm(s); solve(s, m); cholesky(s); svdvals(s); bandwidth(s)""",
    "fft": "fft(x); rfft(x); dct(x); fht(x, 0.1, 0.5); fftfreq(8, 0.5, xp=xp)",
    "signal": """
        detrend(x); hilbert(x); savgol_filter(x, 5, 2); fftconvolve(x, y); convolve(x, y);
        sosfilt(xp.asarray([[0.2, 0.4, 0.2, 1.0, -0.3, 0.2]]), x);
        lfilter(xp.asarray([1.0, 0.5]), xp.asarray([1.0, 0.2]), x); welch(x, nperseg=16)[1];
        windows.hann(8, xp=xp); resample(x, 20); freqz(x, 1.0, worN=16)[1]; periodogram(x)[1]""",
    "integrate": """
        trapezoid(x); simpson(x); cumulative_trapezoid(x);
        tanhsinh(lambda t: t**2, few, few + 1.0).integral;
        cubature(lambda t: t[:, 0]**2, few[:1], few[:1]+1.0).estimate""",
    "differentiate": "derivative(lambda t: t**3, few).df",
    "optimize": """
        elementwise.find_root(lambda t, u: t**3 - u, (few - 9.0, few + 9.0), args=(few,)).x;
        elementwise.find_minimum(lambda t, u: (t - u)**2, (few - 4.0, few - 0.5, few + 4.0),
        args=(few,)).x;
        rosen(x)""",
    "cluster.vq": "whiten(X); vq(X, X[:3])[0]",
    "spatial": """
        distance.cdist(X, X); transform.Rotation.from_quat(few[:4]).as_matrix()""",
    "ndimage": """
        gaussian_filter(image, 1.0); sobel(image); zoom(image, 1.5); label(image > 0)[0]""",
    "interpolate": """
        make_interp_spline(grid, y)(3.3); BarycentricInterpolator(grid[:5], y[:5])(2.5);
        AAA(grid, y)(0.3)""",
}
#: Calls of scikit-learn with ``array_api_dispatch=True``; c are classes.
SKLEARN = {
    "preprocessing": """
        StandardScaler().fit_transform(X); MinMaxScaler().fit_transform(X);
        MaxAbsScaler().fit_transform(X); Normalizer().fit_transform(X);
        Binarizer().fit_transform(X); PolynomialFeatures(2).fit_transform(X);
        KernelCenterer().fit_transform(X @ X.T); LabelEncoder().fit_transform(c);
        LabelBinarizer().fit_transform(c)""",
    "linear_model": """
        Ridge(solver="svd").fit(X, y).coef_; RidgeCV().fit(X, y).coef_;
        LogisticRegression().fit(X, c).coef_""",
    "discriminant_analysis": "LinearDiscriminantAnalysis().fit(X, c).decision_function(X)",
    "naive_bayes": "GaussianNB().fit(X, c).theta_",
    "mixture": """
        GaussianMixture(2, init_params="random_from_data", random_state=0).fit(X).means_""",
    "decomposition": 'PCA(2, svd_solver="full").fit(X).explained_variance_',
    "metrics": """
        r2_score(y, x); mean_squared_error(y, x); mean_absolute_error(y, x);
        explained_variance_score(y, x); accuracy_score(c, 1 - c); f1_score(c, c);
        log_loss(c, p); roc_auc_score(c, x); confusion_matrix(c, 1 - c);
        d2_absolute_error_score(y, x); mean_tweedie_deviance(p, p + 1.0, power=1);
        pairwise.cosine_similarity(X); pairwise.euclidean_distances(X); pairwise.rbf_kernel(X)""",
    "model_selection": "train_test_split(X, random_state=0)[0]",
}

_REASONS = {
    ImmutableError: "writes into an operand",
    SymbolicValueError: "asks a value for its numbers",
    ArgumentError: "a size depends on values",
}


def make_arrays():
    """Return the arrays that calls read, by their letters."""
    rng = np.random.default_rng(0)
    x, m, table = rng.normal(size=40), rng.normal(size=(4, 4)), rng.normal(size=(40, 3))
    return {
        "x": x, "y": 0.5 * x + rng.normal(size=40), "p": rng.uniform(0.1, 0.9, 40), "X": table,
        "m": m, "s": m @ m.T + np.eye(4), "few": np.array([1.0, 2.0, 4.0, 3.0, 2.0, 2.0]),
        "image": rng.normal(size=(8, 8)), "grid": np.linspace(0.0, 4.0, 40),
        "c": (x > 0).astype("int64"),
    }  # fmt: skip


def judge(call, names, arrays):
    """Return what a call gives on tensors and in a traced function, beside NumPy's arrays."""

    def run(operands):
        some = next(iter(operands.values()))
        xp = some.__array_namespace__()
        return eval(call, {**names, **operands, "xp": xp})  # the table's own text

    expected = np.asarray(run(arrays))

    def compare(compute):
        try:
            result = compute()
        except Exception as error:
            return describe_error(error)
        numbers = np.asarray(result)
        same = numbers.shape == expected.shape
        if not (same and np.allclose(numbers, expected, rtol=1e-8, atol=1e-10)):
            return "WRONG"
        return "right" if hasattr(result, "requires_grad") else "right, as NumPy's"

    tensors = {letter: sg.xp.asarray(array) for letter, array in arrays.items()}
    traced = sg.function(lambda *values: run(dict(zip(arrays, values, strict=True))))
    in_function = compare(lambda: Tensor(traced(*arrays.values())))
    return compare(lambda: run(tensors)), in_function


def describe_error(error):
    """Return the reason of an error, and the line of the package that it comes from."""
    reason = _REASONS.get(type(error), type(error).__name__)
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" in frame.filename
    ]  # fmt: skip
    line = f": `{frames[-1].line}`" if frames else ""
    return reason + line.replace("|", "\\|")


def write_table(title, package, table, arrays):
    """Return the lines of a package's table."""
    rows, counts = [], {"tensors": Counter(), "values": Counter()}
    for module, calls in table.items():
        names = vars(importlib.import_module(f"{package}.{module}"))
        for call in calls.split(";"):
            call = " ".join(call.split())
            letters = {name: array for name, array in arrays.items() if _reads(call, name)}
            on_tensors, in_function = judge(call, names, letters or {"x": arrays["x"]})
            counts["tensors"][on_tensors.partition(":")[0]] += 1
            counts["values"][in_function.partition(":")[0]] += 1
            rows.append(f"| `{module}.{call}` | {on_tensors} | {in_function} |")
    summary = [
        f"| {kind} | {', '.join(f'{n} {what}' for what, n in counts[kind].most_common())} |"
        for kind in counts
    ]
    head = ["| call | tensors | in `sg.function` |", "|---|---|---|"]
    return [f"## {title}", "", "| | |", "|---|---|", *summary, "", *head, *rows, ""]


def _reads(call, name):
    """Return whether a call has a name as a word of its own."""
    return re.search(rf"(?<![\w.\"]){name}(?![\w=\"(])", call) is not None


def main():
    """Run every call and write the page."""
    import sklearn  # not installed with the tests

    if os.environ.get("SCIPY_ARRAY_API") != "1":
        raise SystemExit("SciPy reads SCIPY_ARRAY_API=1 when it is imported")
    warnings.simplefilter("ignore")
    arrays = make_arrays()
    versions = (
        f"SciPy {scipy.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}"
    )
    lines = [
        "# Packages that follow the array API standard",
        "",
        f"{versions}. Made by `python -m tests.array_api.packages`: each call on tensors and on"
        " values of a function that `sg.function` traces, beside the same call on arrays of NumPy.",
        "",
        "What stops a call is the reason and the line of the package. Values and tensors never"
        " change, and `array_api_extra.at`, which writes for these packages, has a path without"
        " writes for JAX alone. *As NumPy's* is a result that the package computed of NumPy's"
        " arrays. Without `array_api_dispatch` scikit-learn takes tensors as such arrays in all of"
        " these calls.",
        "",
        *write_table("SciPy, `SCIPY_ARRAY_API=1`", "scipy", SCIPY, arrays),
    ]
    with sklearn.config_context(array_api_dispatch=True):
        title = "scikit-learn, `array_api_dispatch=True`"
        lines += write_table(title, "sklearn", SKLEARN, arrays)
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
