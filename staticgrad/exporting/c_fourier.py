"""Fourier transforms in a library for C: a file of C for all of them, and a function for each.

A line along an axis is transformed in float64, whatever its elements are: by passes of its factors
in Stockham's order (Van Loan, Computational Frameworks for the Fast Fourier Transform, 1.7), and
where a prime factor is large by a convolution of a power of 2 (Bluestein, 1970). Roots of unity are
computed by series from angles below pi/4, which integers reduce exactly.
"""

from __future__ import annotations

from string import Template
from typing import Final

from staticgrad.native.libraries.fourier_kernels import FourierCall

_KINDS: Final = ("c2c", "r2c", "c2r")

SOURCE: Final = r"""/* -- Fourier transforms -- */

enum { LARGEST_FACTOR = 31 };

typedef struct {
    double r, i;
} pair;

/* exp(-2 pi i k / n), where 0 <= k < n. */
static pair root_of_unity(int64_t k, int64_t n) {
    const int64_t octant = 8 * k / n, rest = 8 * k - octant * n;
    const double x = 0.78539816339744830962 * (double)(octant % 2 ? n - rest : rest) / (double)n;
    static const double cosine[] = {1, -1 / 2., 1 / 24., -1 / 720., 1 / 40320., -1 / 3628800.,
        1 / 479001600., -1 / 87178291200., 1 / 20922789888000.};
    static const double sine[] = {1, -1 / 6., 1 / 120., -1 / 5040., 1 / 362880., -1 / 39916800.,
        1 / 6227020800., -1 / 1307674368000.};
    double c = 0, s = 0;
    pair found;
    for (int m = 8; m >= 0; m--) c = c * (x * x) + cosine[m];
    for (int m = 7; m >= 0; m--) s = s * (x * x) + sine[m];
    s *= x;
    if (octant % 2) s = -s;
    switch ((octant + 1) / 2 % 4) {
    case 0: found.r = c, found.i = -s; break;
    case 1: found.r = -s, found.i = -c; break;
    case 2: found.r = -c, found.i = s; break;
    default: found.r = s, found.i = c;
    }
    return found;
}

/* The powers of the first root of unity of n. */
static void roots_of_unity(int64_t n, pair *w) {
    const int64_t count = n % 4 ? n : n / 4; /* the others are quarter turns of these */
    for (int64_t k = 0; k < count; k++) w[k] = root_of_unity(k, n);
    for (int64_t k = count; k < n; k++) w[k] = (pair){w[k - count].i, -w[k - count].r};
}

static inline pair plus(pair a, pair b) { return (pair){a.r + b.r, a.i + b.i}; }
static inline pair minus(pair a, pair b) { return (pair){a.r - b.r, a.i - b.i}; }
static inline pair times(pair a, pair b) {
    return (pair){a.r * b.r - a.i * b.i, a.r * b.i + a.i * b.r};
}

/* A pass of a factor p of n over x into y, of which `done` is the product of earlier factors. */
static void pass(int64_t n, int64_t p, int64_t done, const pair *w, const pair *x, pair *y) {
    const int64_t left = n / done / p;
    pair units[LARGEST_FACTOR];
    for (int64_t v = 0; v < p; v++) units[v] = w[v * (n / p)];
    for (int64_t j = 0; j < left; j++)
        for (int64_t q = 0; q < done; q++) {
            const pair *from = x + q + done * j;
            pair *to = y + q + done * p * j;
            if (p == 2) {
                const pair a = from[0], b = from[done * left];
                to[0] = plus(a, b);
                to[done] = times(minus(a, b), w[j * done]);
            } else if (p == 4) {
                const pair a = from[0], b = from[done * left], c = from[2 * done * left];
                const pair d = from[3 * done * left], even = plus(a, c), odd = minus(a, c);
                const pair sum = plus(b, d), gap = minus(b, d), turned = {gap.i, -gap.r};
                to[0] = plus(even, sum);
                to[done] = times(plus(odd, turned), w[j * done]);
                to[2 * done] = times(minus(even, sum), w[2 * j * done]);
                to[3 * done] = times(minus(odd, turned), w[3 * j * done]);
            } else { /* roots in pairs of conjugates */
                const int64_t half = p / 2;
                pair sums[LARGEST_FACTOR / 2], gaps[LARGEST_FACTOR / 2], all = from[0];
                for (int64_t v = 1; v <= half; v++) {
                    const pair a = from[done * left * v], b = from[done * left * (p - v)];
                    sums[v - 1] = plus(a, b), gaps[v - 1] = minus(a, b);
                    all = plus(all, sums[v - 1]);
                }
                to[0] = all;
                for (int64_t u = 1; u <= half; u++) {
                    pair even = from[0], odd = {0, 0};
                    for (int64_t v = 1, at = u; v <= half; v++, at += at < p - u ? u : u - p) {
                        const pair unit = units[at], sum = sums[v - 1], gap = gaps[v - 1];
                        even.r += unit.r * sum.r, even.i += unit.r * sum.i;
                        odd.r -= unit.i * gap.i, odd.i += unit.i * gap.r;
                    }
                    to[done * u] = times(plus(even, odd), w[j * u * done]);
                    to[done * (p - u)] = times(minus(even, odd), w[j * (p - u) * done]);
                }
            }
        }
}

/* The least factor of n that a pass takes, 4 where it can. */
static int64_t factor_of(int64_t n) {
    if (n % 4 == 0) return 4;
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0) return p;
    return n;
}

/* Whether n has no prime factor that is too large for a pass. */
static int is_smooth(int64_t n) {
    while (n > 1) {
        const int64_t p = factor_of(n);
        if (p > LARGEST_FACTOR) return 0;
        n /= p;
    }
    return 1;
}

/* x is transformed; `work` has as many elements. */
static void passes(int64_t n, const pair *w, pair *x, pair *work) {
    pair *from = x, *to = work;
    for (int64_t done = 1; done < n;) {
        const int64_t p = factor_of(n / done);
        pair *before = from;
        pass(n, p, done, w, from, to);
        done *= p, from = to, to = before;
    }
    if (from != x) memcpy(x, from, (size_t)n * sizeof *x);
}

/* Roots of unity and work memory for lines of n. */
typedef struct {
    int64_t n, m; /* m: of a convolution, else 0 */
    pair *memory, *w, *line, *work, *chirp, *filter, *wide;
} lines;

static int lines_of(lines *l, int64_t n) {
    int64_t m = 0;
    if (!is_smooth(n))
        for (m = 1; m < 2 * n - 1; m *= 2) {}
    l->n = n, l->m = m;
    l->memory = malloc((size_t)(m ? 4 * m + 2 * n : 3 * n) * sizeof(pair));
    if (!l->memory) return 0;
    l->w = l->memory, l->work = l->w + (m ? m : n), l->line = l->work + (m ? m : n);
    roots_of_unity(m ? m : n, l->w);
    if (!m) return 1;
    l->chirp = l->line + n, l->filter = l->chirp + n, l->wide = l->filter + m;
    for (int64_t k = 0, square = 0; k < n; k++) {
        l->chirp[k] = root_of_unity(square, 2 * n);
        square = (square + 2 * k + 1) % (2 * n);
    }
    for (int64_t k = 0; k < m; k++) {
        const int64_t at = k < n ? k : m - k < n ? m - k : -1;
        l->filter[k] = at < 0 ? (pair){0, 0} : (pair){l->chirp[at].r, -l->chirp[at].i};
    }
    passes(m, l->w, l->filter, l->work);
    return 1;
}

/* The line of l is transformed. */
static void transform(lines *l) {
    if (!l->m) {
        passes(l->n, l->w, l->line, l->work);
        return;
    }
    for (int64_t k = 0; k < l->m; k++)
        l->wide[k] = k < l->n ? times(l->line[k], l->chirp[k]) : (pair){0, 0};
    passes(l->m, l->w, l->wide, l->work);
    for (int64_t k = 0; k < l->m; k++) { /* conjugates: the transform back */
        const pair each = times(l->wide[k], l->filter[k]);
        l->wide[k] = (pair){each.r, -each.i};
    }
    passes(l->m, l->w, l->wide, l->work);
    for (int64_t k = 0; k < l->n; k++) {
        const pair each = {l->wide[k].r / (double)l->m, -l->wide[k].i / (double)l->m};
        l->line[k] = times(each, l->chirp[k]);
    }
}

static inline double number_at(const void *x, int64_t n, int is_double) {
    return is_double ? ((const double *)x)[n] : ((const float *)x)[n];
}

static inline void put_number(void *x, int64_t n, int is_double, double value) {
    if (is_double) ((double *)x)[n] = value;
    else ((float *)x)[n] = (float)value;
}

/* Transform lines of x into lines of y: `inner` elements apart, n on the longer side. `kind` 0: of
   complex numbers, also in place; 1: of real ones, into half a spectrum; 2: back. */
static int transform_axis(int kind, int is_double, int is_back, double factor, const void *x,
    void *y, int64_t outer, int64_t n, int64_t inner) {
    const int64_t half = n / 2 + 1, in = kind == 2 ? half : n, out = kind == 1 ? half : n;
    lines l;
    if (!lines_of(&l, n)) return 0;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t q = 0; q < inner; q++) {
            for (int64_t k = 0; k < in; k++) {
                const int64_t at = (o * in + k) * inner + q;
                pair each;
                if (kind == 1) each.r = number_at(x, at, is_double), each.i = 0;
                else {
                    each.r = number_at(x, 2 * at, is_double);
                    each.i = number_at(x, 2 * at + 1, is_double);
                }
                if (kind == 2 && k > 0) l.line[n - k] = (pair){each.r, -each.i};
                l.line[k] = each;
            }
            if (is_back)
                for (int64_t k = 0; k < n; k++) l.line[k].i = -l.line[k].i;
            transform(&l);
            for (int64_t k = 0; k < out; k++) {
                const int64_t at = (o * out + k) * inner + q;
                const pair each = {factor * l.line[k].r, factor * l.line[k].i};
                if (kind == 2) put_number(y, at, is_double, each.r);
                else {
                    put_number(y, 2 * at, is_double, each.r);
                    put_number(y, 2 * at + 1, is_double, is_back ? -each.i : each.i);
                }
            }
        }
    free(l.memory);
    return 1;
}

/* A transform along some axes of x, of shape `in`, into y, of shape `out`: shapes of complex
   numbers or of real ones, each of `rank` axes. Returns 0 where there is no memory. */
static int fourier(int kind, int is_double, int is_back, int norm, int rank, const int64_t *in,
    const int64_t *out, int count, const int *axes, const void *x, void *y) {
    const int64_t *const whole = kind == 1 ? in : out;
    const size_t itemsize = is_double ? 8 : 4;
    int64_t inputs = 1, outputs = 1, transformed = 1, root = 1;
    double factor = 1;
    void *between = NULL;
    int is_done = 1;
    for (int n = 0; n < rank; n++) inputs *= in[n], outputs *= out[n];
    if (!outputs) return 1;
    if (!inputs) {
        memset(y, 0, (size_t)outputs * itemsize * (kind == 2 ? 1 : 2));
        return 1;
    }
    for (int n = 0; n < count; n++) transformed *= whole[rank + axes[n]];
    factor = norm ? 1 / (double)transformed : 1;
    if (norm == 1) { /* the square root, by Newton's iteration */
        double found = 1;
        for (root = transformed; root > 1; root /= 4) found *= 2;
        for (int n = 0; n < 8; n++) found = 0.5 * (found + (double)transformed / found);
        factor = 1 / found;
    }
    if (kind == 2 && count > 1) {
        between = malloc(2 * (size_t)inputs * itemsize);
        if (!between) return 0;
        memcpy(between, x, 2 * (size_t)inputs * itemsize);
        x = between;
    }
    if (kind == 0) memcpy(y, x, 2 * (size_t)inputs * itemsize);
    for (int n = 0; n < count && is_done; n++) {
        /* of real numbers the last axis first, of half a spectrum last */
        const int axis = rank + axes[kind == 1 ? (n ? n - 1 : count - 1) : n];
        const int is_last = axes[count - 1] + rank == axis;
        const int how = is_last ? kind : 0;
        const int64_t *const shape = is_last ? whole : kind == 1 ? out : in;
        int64_t outer = 1, inner = 1;
        void *to = kind == 2 && !is_last ? between : y;
        const void *from = how ? x : to;
        for (int m = 0; m < axis; m++) outer *= shape[m];
        for (int m = axis + 1; m < rank; m++) inner *= shape[m];
        is_done = transform_axis(how, is_double, is_back, n == count - 1 ? factor : 1, from, to,
            outer, shape[axis], inner);
    }
    free(between);
    return is_done;
}

"""

_FUNCTION: Final = Template("""\
/* $name */
static void fourier$number(const int64_t *t, const int64_t *own, int64_t begin, int64_t end) {
    static const int axes[] = {$axes};
    (void)end;
    if (!begin && !fourier($kind, $is_double, $is_back, $norm, $rank, t + 2, t + $out, $count, axes,
            (const void *)(intptr_t)t[0], (void *)(intptr_t)t[1]))
        *(int64_t *)(intptr_t)own[$check] = 0;
}
""")


def function_of(name: str, number: int) -> str:
    """Return the C function of a Fourier transform routine, called like a kernel."""
    call = FourierCall.of(name)
    return _FUNCTION.substitute(
        name=name,
        number=number,
        kind=_KINDS.index(call.kind),
        is_double=int(call.dtype == "float64"),
        is_back=int(call.how[0] == "b"),
        norm=call.how[1],
        rank=call.rank - (call.kind[0] == "c"),
        out=2 + call.rank,
        count=len(call.axes),
        axes=", ".join(map(str, call.axes)),
        check=int(bool(call.size)),  # behind the scratch of a kernel
    )
