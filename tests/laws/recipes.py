"""A call of every public function of values, at any size ``n``.

A recipe has operands and a call. An operand is a letter for its numbers and a shape in which ``n``
is the size: ``f:n,3`` are n rows of 3 normal numbers.

    f normal            p between 0.5 and 2     u between 0.1 and 0.9     b bool
    s symmetric, positive definite              i indices below 3         c complex
    k normal, not differentiated            h Hermitian, positive definite

Letters other than i, b and k are differentiated.
"""

from dataclasses import dataclass, replace

import numpy as np

import staticgrad as sg
from staticgrad.exports import FUNCTIONS, homes
from staticgrad.special import constants as special_constants, quadratures

ROOMS = {"": sg, "linalg": sg.linalg, "special": sg.special, "fft": sg.fft, "nn": sg.nn}
FLOATING = "fpusch"


@dataclass(frozen=True)
class Recipe:
    """A call: ``call(*operands)``."""

    name: str
    operands: tuple[str, ...]
    call: object

    def shapes(self, size):
        """The shapes of the operands at a size: a number, or the name of one."""
        return [
            tuple(size if word == "n" else int(word) for word in text[2:].split(",") if word)
            for text in self.operands
        ]

    def arrays(self, size, seed=0):
        """Arrays for the operands at a size."""
        rng = np.random.default_rng(seed)
        pairs = zip(self.operands, self.shapes(size), strict=True)
        return [array(text[0], shape, rng) for text, shape in pairs]

    def of_complex_numbers(self):
        """The call with complex numbers in place of all real ones that are differentiated."""
        letters = str.maketrans("fpus", "ccch")
        operands = (text[0].translate(letters) + text[1:] for text in self.operands)
        return replace(self, operands=tuple(operands))

    @property
    def floating(self):
        """Places of the operands that are differentiated."""
        return [k for k, text in enumerate(self.operands) if text[0] in FLOATING]


def array(kind, shape, rng):
    """An array of a kind of numbers."""
    if kind == "i":
        return rng.integers(0, 3, shape)
    if kind == "b":
        return rng.random(shape) < 0.5
    if kind == "p":
        return rng.uniform(0.5, 2.0, shape)
    if kind == "u":
        return rng.uniform(0.1, 0.9, shape)
    x = rng.standard_normal(shape)
    if kind in "ch":
        x = x + 1j * rng.standard_normal(shape)
    if kind == "h":
        return x @ np.conj(np.swapaxes(x, -1, -2)) + 2.0 * np.eye(shape[-1])
    if kind == "s":
        return x @ np.swapaxes(x, -1, -2) + 2.0 * np.eye(shape[-1])
    return x


#: Operands -> functions that take them, in their places.
PLAIN = {
    "f:n,3": (
        "abs absolute abs_square arctan arcsinh atleast_1d atleast_2d cbrt ceil conj conjugate cos"
        " cosh corrcoef cov deg2rad diagonal diff erf erfc exp exp2 expm1 flip fliplr flipud floor"
        " imag isfinite isinf isnan matrix_transpose max mean min median nan_to_num nanmax nanmean"
        " nanmedian nanmin nanstd nansum nanvar negative norm ones_like positive prod ptp rad2deg"
        " ravel real rint round sigmoid sign signbit sin sinc sinh sort square squeeze std"
        " sum tan tanh trace transpose tril triu trunc unstack var zeros_like cumsum"
        " cumprod i0 angle argsort count_nonzero amax amin copy cumlogsumexp logcumsumexp cummax"
        " cummin degrees fabs fix iscomplex isneginf isposinf isreal nanargmax nanargmin"
        " nancumprod nancumsum nanprod radians"
        " atleast_3d diagflat ediff1d rot90"
        " linalg.diagonal linalg.trace linalg.norm linalg.matrix_norm linalg.vector_norm"
        " linalg.matrix_transpose"
        " special.erf special.erfc special.erfcx special.expit special.i0 special.i0e special.i1"
        " special.log_expit"
        " special.airy special.cbrt special.cosm1 special.dawsn special.erfi special.exp10"
        " special.exp2 special.softplus"
        " special.expm1 special.exprel special.fresnel special.rgamma special.sinc"
        " special.i1e special.log_ndtr special.log_softmax special.logsumexp special.ndtr"
        " special.softmax fft.fft2 fft.fftn fft.fftshift fft.ifft2 fft.ifftn fft.ifftshift"
        " fft.rfft2 fft.rfftn fft.fft fft.ifft fft.rfft fft.irfft"
        " fft.dct fft.idct fft.dst fft.idst fft.dctn fft.idctn fft.dstn fft.idstn"
        " nn.sigmoid nn.tanh nn.elu nn.gelu nn.leaky_relu nn.log_softmax nn.logsumexp nn.relu"
        " nn.silu nn.softmax nn.softplus nn.celu nn.hardsigmoid nn.hardswish nn.hardtanh"
        " nn.log_sigmoid nn.mish nn.relu6 nn.selu nn.softsign nn.layer_norm"
        " nn.rms_norm nn.hardshrink nn.softmin nn.softshrink nn.tanhshrink"
        " nn.normalize nn.batch_norm nn.batch_statistics"
    ),
    "f:n,4": "fft.irfft2 fft.irfftn nn.glu gradient trapezoid",
    "p:n,3": (
        "log log10 log1p special.log1p log2 sqrt reciprocal special.digamma special.entr"
        " special.gamma"
        " special.gammaln special.j0 special.j1 special.y0 special.y1 special.k0 special.k0e"
        " special.k1 special.k1e special.exp1 special.expi special.sici special.shichi"
        " special.loggamma special.factorial special.wrightomega special.spence"
    ),
    "k:n,3": "stop_gradient",
    "u:n,3": (
        "arccos arcsin arctanh special.ellipe special.ellipk special.ellipkm1 special.erfcinv"
        " special.erfinv special.logit special.ndtri"
    ),
    "f:n,3 f:n,3": (
        "add copysign fmax fmin heaviside logaddexp2"
        " subtract multiply maximum minimum hypot logaddexp arctan2 equal greater"
        " greater_equal less less_equal not_equal isclose allclose array_equal array_equiv append"
        " complex"
        " nn.mse nn.l1_loss nn.huber nn.smooth_l1_loss"
        " nn.soft_margin_loss nn.poisson_nll_loss nn.multilabel_soft_margin_loss"
        " nn.hinge_embedding_loss nn.cosine_similarity nn.pairwise_distance"
        " inner vecdot linalg.vecdot"
    ),
    "f:n f:n": "dot vdot outer linalg.outer kron linalg.kron convolve correlate",
    "f:n,3 p:n,3": (
        "divide divmod floor_divide fmod mod remainder xlogy special.xlogy special.xlog1py"
    ),
    "p:n,3 f:n,3": "float_power power pow",
    "p:n,3 p:n,3": (
        "special.agm special.beta special.betaln special.gammainc special.gammaincc special.kl_div"
        " special.rel_entr"
    ),
    "u:n,3 u:n,3": "nn.binary_cross_entropy",
    "f:n,3 u:n,3": "nn.binary_cross_entropy_with_logits",
    "f:n,3 f:2,3": "nn.linear",
    "f:n,3 f:3": "nn.prelu matmul linalg.matmul",
    "f:3 f:n,2": "polyval",
    "f:n,3 f:n,3 f:n,3": "nn.triplet_margin_loss nn.margin_ranking_loss",
    "f:n,3 f:n,3 p:n,3": "nn.gaussian_nll_loss",
    "f:n,3 f:n,3 f:n": "nn.cosine_embedding_loss",
    "f:n,3 i:n": "nn.multi_margin_loss",
    "f:n,2,4 f:n,2,4 f:n,2,4": "nn.attention",
    "f:n,3 f:3,2": "tensordot",
    "b:n,3": "all any logical_not invert",
    "b:n,3 b:n,3": "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor",
    "i:n,3 i:n,3": "left_shift right_shift isin",
}
A = "s:n,n"
#: Eigenvalues apart from each other, and a triangle beside them.
BAND = np.array([[1.0, 3.0, 5.0, 8.0], [0.0, 0.0, 0.0, 0.0]])
TILTED = np.array([[1.0, 0.5, 0.2], [0.0, 3.0, 0.7], [0.0, 0.0, 6.0]])


def of_last(name, first, factor=1.0):
    """A special function with constants before its operand."""
    return lambda x: getattr(sg.special, name)(*first, x * factor)


#: Characteristic values of spheroidal functions of orders 1 and 2 and c = 0.5.
PROLATE, OBLATE = (float(of(1, 2, 0.5)) for of in (sg.special.pro_cv, sg.special.obl_cv))


def real_parts(name):
    """The real parts of a function of special with several complex results."""
    return lambda x: tuple(result.real for result in getattr(sg.special, name)(x))


def beyond_1(name, first):
    """The same of operands above 1."""
    return lambda x: getattr(sg.special, name)(*first, abs(x) + 1.1)


#: Function -> operands, call. A name behind a space is another aspect of it.
CALLS = {
    "apply_along_axis": (
        "f:3,n",
        lambda x: sg.apply_along_axis(lambda row: row * sg.sin(row[::-1]), 0, x),
    ),
    "apply_over_axes": ("f:n,3", lambda x: sg.apply_over_axes(sg.sum, x * x, [0, 1])),
    "arange": ("f:n", lambda x: sg.arange(3.0) * x.sum()),
    "bartlett": ("f:n,4", lambda x: x * sg.bartlett(4)),
    "blackman": ("f:n,4", lambda x: x * sg.blackman(4)),
    "hamming": ("f:n,4", lambda x: x * sg.hamming(4)),
    "hanning": ("f:n,4", lambda x: x * sg.hanning(4)),
    "kaiser": ("p:", lambda x: sg.kaiser(5, x)),
    "bitwise_count": ("i:n,3", sg.bitwise_count),
    "delete": ("f:n,4", lambda x: sg.delete(x, [0, 2], 1)),
    "diag_indices": ("f:3,3", lambda x: sg.getitem(x, sg.diag_indices(3))),
    "frexp": ("p:n,3", sg.frexp),
    "fromfunction": ("f:", lambda x: sg.fromfunction(lambda i, j: i * x + j, (2, 3))),
    "gcd": ("i:n,3 i:n,3", lambda x, y: sg.gcd(x * 6, y * 4)),
    "histogram2d": (
        "f:n f:n p:n",
        lambda x, y, w: sg.histogram2d(x, y, 2, [[-1, 1], [-1, 1]], weights=w)[0],
    ),
    "histogramdd": (
        "f:n,2 p:n",
        lambda x, w: sg.histogramdd(x, 2, [[-1, 1], [-1, 1]], weights=w)[0],
    ),
    "indices": ("f:2,3", lambda x: x * sg.indices((2, 3))[1]),
    "intersect1d": ("i:n i:n", lambda x, y: sg.intersect1d(x, y + 1, size=3)),
    "ix_": ("f:n,4", lambda x: sg.getitem(x, (slice(None), sg.ix_([1, 2])[0]))),
    "lcm": ("i:n,3 i:n,3", lambda x, y: sg.lcm(x * 6, y * 4)),
    "ldexp": ("f:n,3 i:n,3", sg.ldexp),
    "mask_indices": ("f:3,3", lambda x: sg.getitem(x, sg.mask_indices(3, np.triu, 1))),
    "matvec": ("f:n,2,3 f:3", sg.matvec),
    "modf": ("f:n,3", sg.modf),
    "nextafter": ("k:n,3 k:n,3", sg.nextafter),
    "poly": ("f:3", sg.poly),
    "polyadd": ("f:3 f:2", sg.polyadd),
    "polyder": ("f:4", lambda p: sg.polyder(p, 2)),
    "polyfit": ("f:6 f:6", lambda x, y: sg.polyfit(x, y, 2)),
    "polyint": ("f:3", lambda p: sg.polyint(p, 2, 1.0)),
    "polymul": ("f:3 f:2", sg.polymul),
    "polysub": ("f:3 f:2", sg.polysub),
    "roots": ("p:3", sg.roots),
    "ravel_multi_index": ("i:n i:n", lambda x, y: sg.ravel_multi_index((x, y), (3, 4))),
    "rollaxis": ("f:n,3,2", lambda x: sg.rollaxis(x, 2, 1)),
    "setdiff1d": ("i:n i:n", lambda x, y: sg.setdiff1d(x, y + 1, size=3)),
    "setxor1d": ("i:n i:n", lambda x, y: sg.setxor1d(x, y + 1, size=3)),
    "spacing": ("f:n,3", sg.spacing),
    "tril_indices": ("f:3,3", lambda x: sg.getitem(x, sg.tril_indices(3))),
    "tril_indices_from": ("f:3,3", lambda x: sg.getitem(x, sg.tril_indices_from(x))),
    "triu_indices": ("f:3,3", lambda x: sg.getitem(x, sg.triu_indices(3))),
    "triu_indices_from": ("f:3,3", lambda x: sg.getitem(x, sg.triu_indices_from(x, 1))),
    "union1d": ("i:n i:n", lambda x, y: sg.union1d(x, y + 1, size=4)),
    "unravel_index": ("i:n,3", lambda i: sg.unravel_index(i, (2, 2))),
    "vecmat": ("f:n,3 f:3,2", sg.vecmat),
    "arccosh": ("p:n,3", lambda x: sg.arccosh(x + 1.0)),
    "argwhere": ("k:n,3", lambda x: sg.argwhere(x, size=4, fill_value=-1)),
    "compress": ("b:n f:n,3", lambda m, x: sg.compress(m, x, 0, size=4)),
    "extract": ("f:n,3", lambda x: sg.extract(x > 0.0, x, size=5, fill_value=2.0)),
    "flatnonzero": ("b:n,3", lambda m: sg.flatnonzero(m, size=4)),
    "nonzero": ("b:n,3", lambda m: sg.nonzero(m, size=4)),
    "unique": ("i:n,3", lambda i: sg.unique(i, True, True, True, size=4)),
    "unique of floats": ("f:n,3", lambda x: sg.unique(x, size=3)),
    "dynamic_slice": ("f:4,n i:", lambda x, i: sg.dynamic_slice(x, [i, 0], [2, 1])),
    "dynamic_update_slice": (
        "f:4,n f:2,1 i:",
        lambda x, y, i: sg.dynamic_update_slice(x, y, [i, 0]),
    ),
    "segment_sum": ("f:n,3 i:n", lambda x, i: sg.segment_sum(x, i, 4)),
    "segment_prod": ("f:n,3 i:n", lambda x, i: sg.segment_prod(x, i, 4)),
    "segment_max": ("f:n,3 i:n", lambda x, i: sg.maximum(sg.segment_max(x, i, 3), -9.0)),
    "segment_min": ("f:n,3 i:n", lambda x, i: sg.minimum(sg.segment_min(x, i, 3), 9.0)),
    "reduce_and": ("i:n,3", lambda x: sg.reduce_and(x, axis=1)),
    "reduce_or": ("i:n,3", lambda x: sg.reduce_or(x, axis=0)),
    "reduce_xor": ("i:n,3", lambda x: sg.reduce_xor(x, axis=0)),
    "argmax": ("f:n,3", lambda x: sg.argmax(x, axis=1)),
    "argmin": ("f:n,3", lambda x: sg.argmin(x, axis=1)),
    "associative_scan": ("p:n,3", lambda x: sg.associative_scan(sg.multiply, x, axis=1)),
    "array_split": ("f:n,5", lambda x: sg.array_split(x, 3, 1)),
    "astype": ("f:n,3", lambda x: sg.astype(x, "complex128")),
    "at": ("f:n,3 f:n", lambda x, y: x.at[:, 1].set(y)),
    "at add": ("f:n,3 i:4 f:n,4", lambda x, i, y: x.at[:, i].add(y)),
    "average": ("f:n,3 p:3", lambda x, w: sg.average(x, 1, w)),
    "argpartition": ("f:n,3", lambda x: sg.argpartition(x, 1)),
    "bincount": ("i:n f:n", lambda i, x: sg.bincount(i, x, 4)),
    "block": ("f:n,3", lambda x: sg.block([[x, x], [x, x * 2.0]])),
    "broadcast_arrays": ("f:n,1 f:3", lambda x, y: sg.broadcast_arrays(x, y)),
    "broadcast_to": ("f:n,1", lambda x: sg.broadcast_to(x, (x.shape[0], 4))),
    "checkpoint": ("f:n,3", lambda x: sg.checkpoint(lambda y: sg.sin(sg.exp(y)))(x)),
    "checkpoint_name": ("f:n,3", lambda x: sg.checkpoint_name(x, "h")),
    "choose": ("i:n,3 f:n,3 f:3", lambda i, x, y: sg.choose(i, [x, y, 2.0])),
    "clip": ("f:n,3", lambda x: sg.clip(x, -0.5, 0.5)),
    "column_stack": ("f:n f:n,2", lambda x, y: sg.column_stack([x, y])),
    "concat": ("f:n,3 f:n,2", lambda x, y: sg.concat([x, y], 1)),
    "concatenate": ("f:n,3 f:2,3", lambda x, y: sg.concatenate([x, y])),
    "cond": ("f:n,3 f:", lambda x, y: sg.cond(y > 0, lambda a: sg.sin(a), lambda a: a * y, x)),
    "constant": ("f:n,3", lambda x: x * sg.constant(np.arange(3.0))),
    "cross": ("f:n,3 f:n,3", lambda x, y: sg.cross(x, y)),
    "cumulative_prod": ("f:n,3", lambda x: sg.cumulative_prod(x, axis=0)),
    "cumulative_sum": ("f:n,3", lambda x: sg.cumulative_sum(x, axis=0, include_initial=True)),
    "diag": ("f:n", lambda x: sg.diag(x, 1)),
    "diag of a matrix": ("f:n,n", lambda x: sg.diag(x)),
    "digitize": ("f:n,3", lambda x: sg.digitize(x, [-1.0, 0.0, 2.0])),
    "dsplit": ("f:n,2,4", lambda x: sg.dsplit(x, 2)),
    "dstack": ("f:n,3 f:n,3", lambda x, y: sg.dstack([x, y])),
    "einsum": ("f:n,3 f:3,2 f:n", lambda x, y, z: sg.einsum("ij,jk,i->k", x, y, z)),
    "expand_dims": ("f:n,3", lambda x: sg.expand_dims(x, 1)),
    "eye": ("f:n,3", lambda x: x @ sg.eye(3, 4, 1, dtype="float64")),
    "fori_loop": ("f:n,3", lambda x: sg.fori_loop(0, 3, lambda i, c: sg.sin(c) + x, x)),
    "full": ("f:n,3", lambda x: sg.full((3,), x.sum())),
    "full_like": ("f:n,3", lambda x: sg.full_like(x, 2.0)),
    "geomspace": ("p:n p:n", lambda x, y: sg.geomspace(x, y, 4)),
    "getitem": ("f:n,3", lambda x: x[::-1, 1:]),
    "getitem window": ("f:5,n i:", lambda x, i: sg.asarray(x)[sg.asarray(i) : sg.asarray(i) + 2]),
    "at window": (
        "f:5,n f:2,n i:",
        lambda x, y, i: x.at[i + 1 : i + 3].set(y).at[i : i + 1].add(y[:1]),
    ),
    "getitem indices": ("f:n,3 i:n,2", lambda x, i: x[:, i[:, 0]]),
    "histogram": ("f:n", lambda x: sg.histogram(x, 4, (-1.0, 1.0))[0]),
    "histogram_bin_edges": ("f:n", lambda x: sg.histogram_bin_edges(x, 4, (-1.0, 1.0))),
    "host_call": ("k:n,3", lambda x: sg.host_call(np.sort, x, types=x)),
    "hsplit": ("f:n,4", lambda x: sg.hsplit(x, 2)),
    "hstack": ("f:n,3 f:n,2", lambda x, y: sg.hstack([x, y])),
    "identity": ("f:n,3", lambda x: x @ sg.identity(3, dtype="float64")),
    "insert": ("f:n,3 f:n", lambda x, y: sg.insert(x, 1, y, 1)),
    "interp": ("f:n f:3", lambda x, y: sg.interp(x, np.array([-1.0, 0.0, 2.0]), y)),
    "iota": ("f:n,3", lambda x: x * sg.iota((x.shape[0], 3), 0)),
    "lexsort": ("f:n,3 f:n,3", lambda x, y: sg.lexsort([x, y])),
    "linear_scan": ("u:n,3 f:n,3", lambda a, b: sg.linear_scan(a, b)),
    "linspace": ("f:n f:n", lambda x, y: sg.linspace(x, y, 5)),
    "logspace": ("f:n f:n", lambda x, y: sg.logspace(x, y, 4)),
    "map": ("f:n,3 f:3", lambda x, y: sg.map(lambda r: (sg.sin(r) * y).sum(), x)),
    "meshgrid": ("f:n f:3", lambda x, y: sg.meshgrid(x, y)),
    "moveaxis": ("f:n,3,2", lambda x: sg.moveaxis(x, 0, 2)),
    "nanpercentile": ("f:n,3", lambda x: sg.nanpercentile(x, 30.0, axis=1)),
    "nanquantile": ("f:n,3", lambda x: sg.nanquantile(x, 0.3, axis=1)),
    "numba_call": ("k:n,3", lambda x: sg.numba_call(np.sort, x, types=x)),
    "one_hot": ("i:n", lambda i: sg.one_hot(i, 3)),
    "ones": ("f:n,3", lambda x: x * sg.ones(3, "float64")),
    "pad": ("f:n,3", lambda x: sg.pad(x, ((1, 2), (0, 1)))),
    "pad reflect": ("f:n,3", lambda x: sg.pad(x, ((0, 0), (1, 2)), mode="reflect")),
    "partition": ("f:n,3", lambda x: sg.partition(x, 1)),
    "percentile": ("f:n,3", lambda x: sg.percentile(x, 30.0, axis=1)),
    "piecewise": ("f:n,3", lambda x: sg.piecewise(x, [x > 0.0], [sg.sin, 3.0])),
    "quantile": ("f:n,3", lambda x: sg.quantile(x, 0.3, axis=1)),
    "repeat": ("f:n,3", lambda x: sg.repeat(x, 2, 1)),
    "reshape": ("f:n,4", lambda x: sg.reshape(x, (x.shape[0], 2, 2))),
    "resize": ("f:n,3", lambda x: sg.resize(x, (2, 4))),
    "roll": ("f:n,3", lambda x: sg.roll(x, 1, 0)),
    "scan": ("f:n,3 f:3", lambda x, c: sg.scan(lambda c, r: (sg.sin(c) * r, c + r), c, x)),
    "scan reverse": (
        "f:n,3 f:3",
        lambda x, c: sg.scan(lambda c, r: (c * sg.cos(r), c), c, x, reverse=True),
    ),
    "scatter_add": ("f:n,3 i:n", lambda x, i: sg.scatter_add(x, i, 4)),
    "searchsorted": ("f:n", lambda x: sg.searchsorted(np.arange(-1.0, 2.0), x)),
    "select": ("f:n,3", lambda x: sg.select([x > 0.8, x > 0.4], [x, 2.0 * x], 0.0)),
    "size_value": ("f:n,3", lambda x: x * sg.size_value(x.shape[0], "float64")),
    "sliding_window_view": ("f:n,4", lambda x: sg.sliding_window_view(x, 2, 1)),
    "split": ("f:n,4", lambda x: sg.split(x, 2, 1)),
    "stack": ("f:n,3 f:n,3", lambda x, y: sg.stack([x, y], 1)),
    "swapaxes": ("f:n,3", lambda x: sg.swapaxes(x, 0, 1)),
    "switch": (
        "f:n,3 i:",
        lambda x, i: sg.switch(i, [lambda a: sg.sin(a), lambda a: a * a, lambda a: a], x),
    ),
    "take": ("f:n,3 i:4", lambda x, i: sg.take(x, i, 1)),
    "take_along_axis": ("f:n,3 i:n,2", lambda x, i: sg.take_along_axis(x, i, 1)),
    "tile": ("f:n,3", lambda x: sg.tile(x, (2, 1))),
    "topk": ("f:n,3", lambda x: sg.topk(x, 2)),
    "tri": ("f:n,3", lambda x: x @ sg.tri(3, 4, 1, dtype="float64")),
    "unwrap": ("f:n,3", lambda x: sg.unwrap(x * 4.0)),
    "vander": ("f:3", lambda x: sg.vander(x, 4)),
    "vmap": ("f:n,3 f:3", lambda x, y: sg.vmap(lambda r, y: sg.sin(r) @ y, (0, None))(x, y)),
    "vsplit": ("f:4,n", lambda x: sg.vsplit(x, 2)),
    "vstack": ("f:n,3 f:2,3", lambda x, y: sg.vstack([x, y])),
    "where": ("b:n,3 f:n,3 f:3", lambda c, x, y: sg.where(c, x, y)),
    "while_loop": (
        "f:n,3",
        lambda x: sg.while_loop(lambda c: (c * c).sum() > 1.0, lambda c: c * 0.6, x, max_steps=20),
    ),
    "zeros": ("f:n,3", lambda x: x + sg.zeros(3, "float64")),
    "linalg.cho_solve_banded": (
        "f:2,4 f:4",
        lambda d, b: sg.linalg.cho_solve_banded(
            (sg.linalg.cholesky_banded(d * 0.2 + np.array([[4.0], [0.0]]), lower=True), True), b
        ),
    ),
    "linalg.cholesky_banded": (
        "f:2,4",
        lambda d: sg.linalg.cholesky_banded(d * 0.2 + np.array([[0.0], [4.0]])),
    ),
    "linalg.convolution_matrix": ("f:3", lambda a: sg.linalg.convolution_matrix(a, 4, "same")),
    "linalg.coshm": ("s:3,3", lambda a: sg.linalg.coshm(a * 0.1)),
    "linalg.dft": ("f:n,3", lambda x: abs(x @ sg.linalg.dft(3))),
    "linalg.diagsvd": ("f:3", lambda s: sg.linalg.diagsvd(s, 3, 4)),
    "linalg.eig_banded": (
        "f:2,4",
        lambda d: abs(sg.linalg.eig_banded(d * 0.1 + BAND, lower=True)[1]),
    ),
    "linalg.eigh_tridiagonal": (
        "f:4 f:3",
        lambda d, e: abs(sg.linalg.eigh_tridiagonal(d * 0.1 + BAND[0], e)[1]),
    ),
    "linalg.eigvals_banded": (
        "f:2,4",
        lambda d: sg.linalg.eigvals_banded(d * 0.1 + BAND, lower=True),
    ),
    "linalg.eigvalsh_tridiagonal": (
        "f:4 f:3",
        lambda d, e: sg.linalg.eigvalsh_tridiagonal(d * 0.1 + BAND[0], e, "i", (1, 2)),
    ),
    "linalg.expm_cond": ("f:3,3", lambda a: sg.linalg.expm_cond(a * 0.1)),
    "linalg.fiedler": ("f:3", sg.linalg.fiedler),
    "linalg.fiedler_companion": ("p:5", sg.linalg.fiedler_companion),
    "linalg.fractional_matrix_power": (
        "s:3,3",
        lambda a: sg.linalg.fractional_matrix_power(a @ a.T + np.eye(3), -1.3),
    ),
    "linalg.funm": ("s:3,3", lambda a: sg.linalg.funm(a * 0.1 + TILTED, sg.sin)),
    "linalg.helmert": ("f:n,3", lambda x: x @ sg.linalg.helmert(3, full=True)),
    "linalg.hessenberg": ("f:4,4", lambda a: sg.linalg.hessenberg(a, calc_q=True)),
    "linalg.invhilbert": ("f:n,3", lambda x: x @ sg.linalg.invhilbert(3)),
    "linalg.invpascal": ("f:n,3", lambda x: x @ sg.linalg.invpascal(3, exact=False)),
    "linalg.ldl": ("s:3,3", lambda a: sg.linalg.ldl(a)[:2]),
    "linalg.leslie": ("f:4 f:3", sg.linalg.leslie),
    "linalg.matmul_toeplitz": ("f:3 f:3", lambda c, x: sg.linalg.matmul_toeplitz(c, x)),
    "linalg.pascal": ("f:n,3", lambda x: x @ sg.linalg.pascal(3, exact=False)),
    "linalg.pinvh": ("s:3,3", sg.linalg.pinvh),
    "linalg.rsf2csf": (
        "f:3,3",
        lambda a: sg.abs_square(
            sg.linalg.rsf2csf(*sg.linalg.schur(a * 0.1 + TILTED, "complex"))[0]
        ),
    ),
    "linalg.schur": ("f:3,3", lambda a: sg.abs_square(sg.linalg.schur(a * 0.1 + TILTED)[0])),
    "linalg.sinhm": ("s:3,3", lambda a: sg.linalg.sinhm(a * 0.1)),
    "linalg.solve_circulant": (
        "f:3 f:3",
        lambda c, b: sg.linalg.solve_circulant(c * 0.3 + np.array([4.0, 0.0, 0.0]), b),
    ),
    "linalg.tanhm": ("s:3,3", lambda a: sg.linalg.tanhm(a * 0.05)),
    "linalg.circulant": ("f:4", sg.linalg.circulant),
    "linalg.companion": ("p:4", sg.linalg.companion),
    "linalg.cosm": ("s:3,3", lambda a: sg.linalg.cosm(a * 0.1)),
    "linalg.expm_frechet": ("s:3,3 f:3,3", lambda a, e: sg.linalg.expm_frechet(a * 0.1, e)),
    "linalg.hadamard": ("f:n,4", lambda x: x @ sg.linalg.hadamard(4)),
    "linalg.hankel": ("f:3 f:4", sg.linalg.hankel),
    "linalg.hilbert": ("f:n,3", lambda x: x @ sg.linalg.hilbert(3)),
    "linalg.khatri_rao": ("f:n,3 f:2,3", sg.linalg.khatri_rao),
    "linalg.logm": ("s:3,3", lambda a: sg.linalg.logm(a @ a.T + 3.0 * np.eye(3))),
    "linalg.lu_factor": (A, lambda a: sg.linalg.lu_factor(a)[0]),
    "linalg.lu_solve": (
        A + " f:n",
        lambda a, b: sg.linalg.lu_solve(sg.linalg.lu_factor(a), b),
    ),
    "linalg.multi_dot": ("f:n,3 f:3,2 f:2", lambda a, b, c: sg.linalg.multi_dot([a, b, c])),
    "linalg.orthogonal_procrustes": ("s:3,3 s:3,3", sg.linalg.orthogonal_procrustes),
    "linalg.null_space": (
        "f:2,4",
        lambda a: (lambda q: q @ sg.conj(q).T)(sg.linalg.null_space(a, rank=2)),
    ),
    "linalg.orth": ("f:4,2", lambda a: (lambda q: q @ sg.conj(q).T)(sg.linalg.orth(a, rank=2))),
    "linalg.polar": ("s:3,3", sg.linalg.polar),
    "linalg.rq": ("s:3,3", sg.linalg.rq),
    "linalg.signm": ("s:3,3", lambda a: sg.linalg.signm(a @ a.T + np.eye(3))),
    "linalg.sinm": ("s:3,3", lambda a: sg.linalg.sinm(a * 0.1)),
    "linalg.solve_banded": ("f:3,4 f:4", lambda d, b: sg.linalg.solve_banded((2, 0), d + 4.0, b)),
    "linalg.solve_continuous_are": (
        "f:3,3 f:3,1",
        lambda a, b: sg.linalg.solve_continuous_are(a * 0.2 - np.eye(3), b, np.eye(3), np.eye(1)),
    ),
    "linalg.solve_continuous_lyapunov": (
        "f:3,3 f:3,3",
        lambda a, q: sg.linalg.solve_continuous_lyapunov(a * 0.2 + np.eye(3), q),
    ),
    "linalg.solve_discrete_are": (
        "f:3,3 f:3,1",
        lambda a, b: sg.linalg.solve_discrete_are(a * 0.2, b, np.eye(3), np.eye(1)),
    ),
    "linalg.solve_discrete_lyapunov": (
        "f:3,3 f:3,3",
        lambda a, q: sg.linalg.solve_discrete_lyapunov(a * 0.1, q),
    ),
    "linalg.solve_sylvester": (
        "f:3,3 f:2,2 f:3,2",
        lambda a, b, q: sg.linalg.solve_sylvester(a * 0.2 + np.eye(3), b * 0.2 + np.eye(2), q),
    ),
    "linalg.solve_toeplitz": (
        "f:3 f:3",
        lambda c, b: sg.linalg.solve_toeplitz(c * 0.3 + np.array([4.0, 0.0, 0.0]), b),
    ),
    "linalg.solveh_banded": (
        "f:2,4 f:4",
        lambda d, b: sg.linalg.solveh_banded(d * 0.2 + np.array([[4.0], [0.0]]), b, lower=True),
    ),
    "linalg.sqrtm": ("s:3,3", lambda a: sg.linalg.sqrtm(a @ a.T + np.eye(3))),
    "linalg.subspace_angles": ("f:4,2 f:4,1", sg.linalg.subspace_angles),
    "linalg.tanm": ("s:3,3", lambda a: sg.linalg.tanm(a * 0.05)),
    "linalg.tensorinv": ("s:6,6", lambda a: sg.linalg.tensorinv(a.reshape((2, 3, 6)))),
    "linalg.tensorsolve": (
        "s:6,6 f:6",
        lambda a, b: sg.linalg.tensorsolve(a.reshape((2, 3, 6)), b.reshape((2, 3))),
    ),
    "linalg.toeplitz": ("f:3 f:4", sg.linalg.toeplitz),
    "linalg.block_diag": ("f:n,2 f:n,3", sg.linalg.block_diag),
    "linalg.cg": (A + " f:n", lambda a, b: sg.linalg.cg((a + a.T) / 2.0, b, rtol=1e-12).x),
    "linalg.gmres": (A + " f:n", lambda a, b: sg.linalg.gmres(a, b, rtol=1e-12).x),
    "linalg.cho_factor": (A, lambda a: sg.tril(sg.linalg.cho_factor(a, lower=True)[0])),
    "linalg.cho_solve": (
        A + " f:n",
        lambda a, b: sg.linalg.cho_solve(sg.linalg.cho_factor(a), b),
    ),
    "linalg.cholesky": (A, sg.linalg.cholesky),
    "linalg.cond": ("s:3,3", sg.linalg.cond),
    "linalg.cross": ("f:n,3 f:n,3", sg.linalg.cross),
    "linalg.det": (A, sg.linalg.det),
    "linalg.eig": ("f:n,n", lambda a: abs(sg.linalg.eig(a)[1])),
    "linalg.eigvals": ("f:n,n", sg.linalg.eigvals),
    "linalg.eigh": (A, lambda a: abs(sg.linalg.eigh(a)[1])),
    "linalg.eigvalsh": (A, sg.linalg.eigvalsh),
    "linalg.expm": (A, lambda a: sg.linalg.expm(a * 0.1)),
    "linalg.inv": (A, sg.linalg.inv),
    "linalg.lstsq": ("f:6,3 f:6", lambda a, b: sg.linalg.lstsq(a, b)[0]),
    "linalg.lu": (A, lambda a: sg.linalg.lu(a)[1:]),
    "linalg.matrix_power": (A, lambda a: sg.linalg.matrix_power(a * 0.3, 3)),
    "linalg.matrix_rank": (A, sg.linalg.matrix_rank),
    "linalg.pinv": (A, sg.linalg.pinv),
    "linalg.qr": (A, sg.linalg.qr),
    "linalg.slogdet": (A, sg.linalg.slogdet),
    "linalg.solve": (A + " f:n", sg.linalg.solve),
    "linalg.solve_triangular": (
        A + " f:n",
        lambda a, b: sg.linalg.solve_triangular(a, b, lower=True),
    ),
    "linalg.solve_tridiagonal": (
        "f:n p:n f:n",
        lambda x, d, b: sg.linalg.solve_tridiagonal(x[1:], d + 5.0, x[:-1], b),
    ),
    "linalg.svd": (A, lambda a: abs(sg.linalg.svd(a)[0])),
    "linalg.svdvals": (A, sg.linalg.svdvals),
    "linalg.tensordot": ("f:n,3 f:3,2", lambda x, y: sg.linalg.tensordot(x, y, 1)),
    "tensordot": ("f:n,3 f:3,2", lambda x, y: sg.tensordot(x, y, 1)),
    "special.betainc": ("u:n", lambda x: sg.special.betainc(1.5, 2.0, x)),
    "special.betaincinv": ("u:n", lambda p: sg.special.betaincinv(1.5, 2.0, p)),
    "special.betainccinv": ("u:n", lambda p: sg.special.betainccinv(1.5, 2.0, p)),
    "special.gammaincinv": ("u:n", lambda p: sg.special.gammaincinv(1.5, p)),
    "special.gammainccinv": ("u:n", lambda p: sg.special.gammainccinv(1.5, p)),
    "special.betaincc": ("u:n", lambda x: sg.special.betaincc(1.5, 2.0, x)),
    "special.stdtr": ("f:n", lambda t: sg.special.stdtr(3.0, t)),
    "special.stdtrit": ("u:n", lambda p: sg.special.stdtrit(3.0, p)),
    "special.multigammaln": ("p:n", lambda a: sg.special.multigammaln(a + 1.0, 2)),
    "special.polygamma": ("p:n,3", lambda x: sg.special.polygamma(1, x)),
    "special.zeta": ("p:n,3", lambda q: sg.special.zeta(3.0, q)),
    **{
        f"special.{name}": ("p:n,3", of_last(name, v))
        for v, names in (
            ((1.5,), "jv yv iv ive kv kve struve hyp0f1 owens_t agm poch boxcox boxcox1p"),
            (
                (2,),
                "yn expn spherical_jn spherical_yn spherical_in spherical_kn eval_hermite"
                " eval_hermitenorm eval_laguerre huber pseudo_huber",
            ),
            ((2.0, 0.7), "eval_genlaguerre hyp1f1 hyperu"),
            ((0.3,), "inv_boxcox inv_boxcox1p"),
        )
        for name in names.split()
    },
    **{
        f"special.{name}": ("u:n,3", of_last(name, v, 0.5))
        for v, names in (
            ((3,), "eval_legendre eval_chebyt eval_chebyu"),
            ((3, 0.7), "eval_gegenbauer"),
            ((3, 0.7, 0.2), "eval_jacobi"),
            ((1, 2), "lpmv"),
            ((0.5, 0.7, 1.5), "hyp2f1"),
            ((0.8,), "ellipkinc ellipeinc ellipj"),
        )
        for name in names.split()
    },
    "special.binom": ("p:n,3", lambda x: sg.special.binom(x + 3.0, 1.5)),
    "special.comb": ("p:n,3", lambda x: sg.special.comb(x + 3.0, 1.5)),
    "special.perm": ("p:n,3", lambda x: sg.special.perm(x + 3.0, 2.0)),
    "special.factorial2": ("i:n,3", lambda n: sg.special.factorial2(n)),
    "special.diric": ("f:n,3", lambda x: sg.special.diric(x, 3)),
    "special.lambertw": ("p:n,3", lambda x: sg.special.lambertw(x)),
    "special.ndtri_exp": ("p:n,3", lambda x: sg.special.ndtri_exp(-x)),
    **{
        f"special.{name}": ("p:n,3", of_last(name, v))
        for v, names in (
            ((1.5,), "jve yve hankel1 hankel2 hankel1e hankel2e modstruve pbdv pbvv"),
            ((0.5,), "pbwa"),
            ((2,), "kn"),
            ((3.0,), "chdtr chdtrc elliprc"),
            ((3.0, 2.0), "fdtr fdtrc gdtr gdtrc elliprf elliprg"),
            ((0.5, 1.5), "wright_bessel log_wright_bessel"),
            ((2, 0.5), "mathieu_cem mathieu_sem mathieu_modcem1 mathieu_modcem2 mathieu_modsem1"),
            ((3.0, 0.5), "nctdtr"),
            ((2.0,), "pdtr pdtrc eval_chebyc eval_chebys"),
            ((3,), "legendre_p eval_sh_legendre eval_sh_chebyt eval_sh_chebyu"),
            ((3, 2.0, 1.5), "eval_sh_jacobi"),
            ((10.0, 11.0), "elliprd"),
            ((10.0, 11.0, 12.0), "elliprj"),
        )
        for name in names.split()
    },
    **{
        f"special.{name}": ("u:n,3", of_last(name, v, 0.5))
        for v, names in (
            ((2.0, 5.0), "bdtr bdtrc nbdtr nbdtrc bdtri nbdtri"),
            ((3.0,), "chdtri pdtri"),
            ((3.0, 5.0), "fdtri gdtrix"),
            ((3, 1), "assoc_legendre_p"),
            ((3.0, 0.5), "nctdtrit"),
            ((1, 2, 0.5), "pro_ang1 obl_ang1"),
            ((1, 2, 0.5, PROLATE), "pro_ang1_cv"),
            ((1, 2, 0.5, OBLATE), "obl_ang1_cv"),
        )
        for name in names.split()
    },
    **{
        f"special.{name}": ("p:n,3", beyond_1(name, v))
        for v, names in (
            ((1, 2, 0.5), "pro_rad1 obl_rad1"),
            ((1, 2, 0.5, PROLATE), "pro_rad1_cv"),
            ((1, 2, 0.5, OBLATE), "obl_rad1_cv"),
        )
        for name in names.split()
    },
    **{
        f"special.{name}": ("p:n,3", of_last(name, ()))
        for name in [
            "ber",
            "bei",
            "ker",
            "kei",
            "berp",
            "beip",
            "kerp",
            "keip",
            "sindg",
            "cosdg",
            "tandg",
            "cotdg",
            "it2struve0",
            "itmodstruve0",
            "itstruve0",
            "airye",
            "iti0k0",
            "itj0y0",
            "it2i0k0",
            "it2j0y0",
        ]
    },
    **{
        f"special.{name}": ("p:n,3", real_parts(name))
        for name in ("kelvin", "modfresnelp", "modfresnelm")
    },
    "special.powm1": ("p:n,3 f:n,3", sg.special.powm1),
    "special.gammasgn": ("k:n,3", lambda x: sg.special.gammasgn(x)),
    # SciPy's integrals of Airy functions have six digits
    "special.itairy": ("k:n,3", lambda x: sg.special.itairy(abs(x))),
    # SciPy's second kinds have few digits
    **{
        f"special.{name}": ("k:n,3", beyond_1(name, (1, 2, 0.5, *values)))
        for name, values in (
            ("pro_rad2", ()),
            ("pro_rad2_cv", (PROLATE,)),
            ("obl_rad2", ()),
            ("obl_rad2_cv", (OBLATE,)),
        )
    },
    # differentiable once: tests/ops/test_special_functions.py
    "special.kolmogi": ("k:n,3", lambda x: sg.special.kolmogi(sg.sigmoid(x))),
    "special.kolmogorov": ("k:n,3", lambda x: sg.special.kolmogorov(x)),
    "special.smirnov": ("k:n,3", lambda x: sg.special.smirnov(5, sg.sigmoid(x))),
    "special.smirnovi": ("k:n,3", lambda x: sg.special.smirnovi(5, sg.sigmoid(x))),
    "special.ncfdtr": ("k:n,3", lambda x: sg.special.ncfdtr(3.0, 5.0, 0.5, abs(x))),
    "special.ncfdtri": ("k:n,3", lambda x: sg.special.ncfdtri(3.0, 5.0, 0.5, sg.sigmoid(x))),
    "special.ncfdtrinc": (
        "k:n,3",
        lambda x: sg.special.ncfdtrinc(3.0, 5.0, 0.2 + 0.3 * sg.sigmoid(x), 2.0),
    ),
    "special.mathieu_modsem2": ("p:n,3", lambda x: sg.special.mathieu_modsem2(2, 0.5, x)),
    "special.mathieu_a": ("k:n,3", lambda q: sg.special.mathieu_a(2, abs(q))),
    "special.mathieu_b": ("k:n,3", lambda q: sg.special.mathieu_b(2, abs(q))),
    "special.pro_cv": ("k:n,3", lambda q: sg.special.pro_cv(1, 2, abs(q))),
    "special.obl_cv": ("k:n,3", lambda q: sg.special.obl_cv(1, 2, abs(q))),
    "special.zetac": ("k:n,3", lambda x: sg.special.zetac(abs(x) + 1.5)),
    "special.assoc_laguerre": ("p:n,3", lambda x: sg.special.assoc_laguerre(x, 3, 1.0)),
    "special.bdtrik": ("u:n,3", lambda y: sg.special.bdtrik(0.3 + y * 0.5, 10.0, 0.3)),
    "special.bdtrin": ("u:n,3", lambda y: sg.special.bdtrin(2.0, 0.1 + y * 0.5, 0.3)),
    "special.besselpoly": ("p:n,3", lambda a: sg.special.besselpoly(a, 1.0, 2.0)),
    "special.btdtria": ("u:n,3", lambda p: sg.special.btdtria(p * 0.5 + 0.2, 3.0, 0.4)),
    "special.btdtrib": ("u:n,3", lambda p: sg.special.btdtrib(2.0, p * 0.5 + 0.2, 0.4)),
    "special.chdtriv": ("u:n,3", lambda p: sg.special.chdtriv(p * 0.5 + 0.2, 3.0)),
    "special.chndtr": ("p:n,3", lambda x: sg.special.chndtr(x, 3.0, 0.5)),
    "special.chndtrix": ("u:n,3", lambda p: sg.special.chndtrix(p * 0.5 + 0.2, 3.0, 0.5)),
    "special.chndtrinc": ("u:n,3", lambda p: sg.special.chndtrinc(4.0, 3.0, p * 0.3 + 0.2)),
    "special.factorialk": ("i:n,3", lambda n: sg.special.factorialk(n, 3)),
    "special.fdtridfd": ("u:n,3", lambda p: sg.special.fdtridfd(3.0, p * 0.05 + 0.65, 1.5)),
    "special.gdtria": ("u:n,3", lambda p: sg.special.gdtria(p, 3.0, 2.0)),
    "special.gdtrib": ("u:n,3", lambda p: sg.special.gdtrib(2.0, p * 0.5 + 0.2, 1.5)),
    **{
        f"special.{name}": ("p:n,3", lambda x, name=name: getattr(sg.special, name)(1.5, x, 1))
        for name in ("jvp", "yvp", "ivp", "kvp", "h1vp", "h2vp")
    },
    "special.nbdtrik": ("u:n,3", lambda y: sg.special.nbdtrik(y * 0.5 + 0.3, 3.0, 0.4)),
    "special.nbdtrin": ("u:n,3", lambda y: sg.special.nbdtrin(3.0, y * 0.5 + 0.2, 0.4)),
    "special.nctdtrinc": ("u:n,3", lambda p: sg.special.nctdtrinc(3.0, p * 0.3 + 0.2, 2.0)),
    "special.nrdtrimn": ("u:n,3", lambda p: sg.special.nrdtrimn(p, 2.0, 1.0)),
    "special.nrdtrisd": ("u:n,3", lambda p: sg.special.nrdtrisd(3.0, p * 0.4, 1.0)),
    "special.pdtrik": ("u:n,3", lambda p: sg.special.pdtrik(p * 0.5 + 0.4, 2.5)),
    "special.stdtridf": ("u:n,3", lambda p: sg.special.stdtridf(p * 0.05 + 0.12, -1.5)),
    "special.tklmbda": ("p:n,3", lambda x: sg.special.tklmbda(x * 0.1, 0.3)),
    "special.radian": ("f:n,3", lambda x: sg.special.radian(x, x * 2.0, x)),
    "special.sph_legendre_p": ("u:n,3", lambda t: sg.special.sph_legendre_p(3, 1, t + 0.3)),
    "special.sph_harm_y": ("u:n,3 f:3", lambda t, p: sg.special.sph_harm_y(3, 1, t + 0.3, p).real),
    "special.voigt_profile": ("f:n,3 p:n,3 p:n,3", sg.special.voigt_profile),
    "special.wofz": ("f:n,3", lambda x: sg.special.wofz(x).imag),
    "nn.one_hot": ("i:n", lambda i: sg.nn.one_hot(i, 3)),
    "nn.gumbel_softmax": (
        "f:n,3",
        lambda x: sg.nn.gumbel_softmax(x, sg.random.Generator(0)) * 0.0 + x,
    ),
    "nn.embedding": ("i:n f:3,4", sg.nn.embedding),
    "nn.rotary": ("f:n,4", lambda x: sg.nn.rotary(x, 2)),
    "nn.affine_grid": ("f:n,2,3", lambda t: sg.nn.affine_grid(t, (t.shape[0], 1, 3, 4))),
    "nn.grid_sample": ("f:2,3,4,4 u:2,3,3,2", sg.nn.grid_sample),
    "nn.pixel_shuffle": ("f:n,4,2,2", lambda x: sg.nn.pixel_shuffle(x, 2)),
    "nn.pixel_unshuffle": ("f:n,1,4,4", lambda x: sg.nn.pixel_unshuffle(x, 2)),
    "nn.resize": ("f:n,2,4,4", lambda x: sg.nn.resize(x, (6, 3), "linear")),
    "nn.adaptive_avg_pool": ("f:n,2,5,5", lambda x: sg.nn.adaptive_avg_pool(x, 2)),
    "nn.adaptive_max_pool": ("f:n,2,5,5", lambda x: sg.nn.adaptive_max_pool(x, 2)),
    "nn.threshold": ("f:n,3", lambda x: sg.nn.threshold(x, 0.2, -1.0)),
    "nn.avg_pool": ("f:n,2,5,5", lambda x: sg.nn.avg_pool(x, 3, stride=2, padding=1)),
    "nn.max_pool": ("f:n,2,5,5", lambda x: sg.nn.max_pool(x, 2)),
    "nn.lp_pool": ("p:n,2,5,5", lambda x: sg.nn.lp_pool(x, 2.0, 2)),
    "nn.conv": (
        "f:n,2,5,5 f:3,2,3,3 f:3",
        lambda x, w, b: sg.nn.conv(x, w, b, stride=2, padding=1),
    ),
    "nn.conv_transpose": (
        "f:n,3,3,3 f:3,2,3,3",
        lambda x, w: sg.nn.conv_transpose(x, w, stride=2, padding=1),
    ),
    "nn.unfold": ("f:n,2,5,5", lambda x: sg.nn.unfold(x, 3, stride=2)),
    "nn.fold": ("f:n,2,3,3,2,2", lambda y: sg.nn.fold(y, (5, 5), stride=2)),
    "nn.group_norm": ("f:n,4,3", lambda x: sg.nn.group_norm(x, 2)),
    "nn.instance_norm": ("f:n,4,3", sg.nn.instance_norm),
    "nn.batch_norm weight": (
        "f:n,4,3 f:4 f:4",
        lambda x, w, b: sg.nn.batch_norm(x, weight=w, bias=b),
    ),
    "nn.local_response_norm": ("f:n,4,3", lambda x: sg.nn.local_response_norm(x, 3)),
    "nn.rnn": ("f:4,n,3 f:3,2 f:2,2", lambda x, w, u: sg.nn.rnn(x, w, u)),
    "nn.gru": ("f:4,n,3 f:3,6 f:2,6", lambda x, w, u: sg.nn.gru(x, w, u)),
    "nn.lstm": ("f:4,n,3 f:3,8 f:2,8", lambda x, w, u: sg.nn.lstm(x, w, u)),
    "nn.rnn_cell": ("f:n,3 f:n,2 f:3,2 f:2,2", sg.nn.rnn_cell),
    "nn.gru_cell": ("f:n,3 f:n,2 f:3,6 f:2,6", sg.nn.gru_cell),
    "nn.lstm_cell": (
        "f:n,3 f:n,2 f:n,2 f:3,8 f:2,8",
        lambda x, h, c, w, u: sg.nn.lstm_cell(x, (h, c), w, u),
    ),
    "nn.bidirectional": (
        "f:4,n,3 f:3,2 f:2,2",
        lambda x, w, u: sg.nn.bidirectional(sg.nn.rnn, x, (w, u), (w * 2.0, u)),
    ),
    "nn.stacked": (
        "f:4,n,3 f:3,2 f:2,2 f:2,2",
        lambda x, w, u, v: sg.nn.stacked(sg.nn.rnn, x, [(w, u), (v, u)]),
    ),
    "nn.cross_entropy": ("f:n,3 i:n", sg.nn.cross_entropy),
    "nn.nll_loss": ("f:n,3 i:n", sg.nn.nll_loss),
    "nn.kl_div": ("f:n,3 p:n,3", sg.nn.kl_div),
    "nn.ctc_loss": (
        "f:5,n,3 i:n,2",
        lambda x, i: sg.nn.ctc_loss(sg.nn.log_softmax(x), sg.minimum(i, 1) + 1),
    ),
}
#: Functions without a recipe -> why.
WITHOUT = {
    **dict.fromkeys(
        ("input", "parameter", "Graph", "Parameter", "Value"), "makes a leaf or a graph"
    ),
    "conventions": "text",
    **dict.fromkeys(
        ("replace", "vectorize"), "of values that exist: tests/programs/test_substitution.py"
    ),
    **dict.fromkeys(("custom_jvp", "custom_vjp"), "makes functions: tests/ops/test_custom.py"),
    "fft.fftfreq": "of sizes alone",
    "fft.rfftfreq": "of sizes alone",
    "nn.manual_seed": "a setting",
    "nn.updates": "a context",
    **{
        f"special.{name}": "of numbers alone: tests/ops/test_special_functions.py"
        for name in special_constants.NAMES | quadratures.NAMES
        if getattr(sg.special, name).__name__ == name  # of several names of one its own
    },
}


def recipes():
    """Every recipe by its name."""
    by_name = {}
    for operands, names in PLAIN.items():
        for name in names.split():
            by_name[name] = Recipe(name, tuple(operands.split()), public(name))
    for name, (operands, call) in CALLS.items():
        by_name[name] = Recipe(name, tuple(operands.split()), call)
    return by_name


def public(name):
    """The function of a name."""
    room, _, function_name = name.rpartition(".")
    return getattr(ROOMS[room], function_name)


def functions():
    """The names of every public function of values; of several names of one its own."""
    names = [*homes(FUNCTIONS)]
    for room, module in ROOMS.items():
        if room:
            members = {n: getattr(module, n) for n in module.__all__}
            names += [
                f"{room}.{n}"
                for n, f in members.items()
                if not isinstance(f, type) and (f.__name__ == n or members.get(f.__name__) is not f)
            ]
    return sorted(names)
