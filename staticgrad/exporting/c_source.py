"""The text of a library for C: its header, and the file around its plans, as templates."""

from __future__ import annotations

from string import Template
from typing import Final

HEADER: Final = Template("""\
/* $name: a compiled program for C, $about.

   Arrays are contiguous, in C order, and do not overlap. Parameters are read and updated in place.
   A library is compiled for one kind of processor: $target.

   Threads: functions keep no state that threads share. Several threads may call all of them at the
   same time, each with arenas, outputs and parameters of its own; inputs may be shared. */
#ifndef $guard
#define $guard
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

$structs
/* Results of functions. A positive one is the number of a check that failed while a program ran,
   before it wrote any parameter. A negative one is an error of the call: ${name}_CODE says which of
   these it is, ${name}_ARRAY of which array in ${name}_arrays, -1 of none. */
enum {
    ${name}_OK = 0,
    ${name}_SIZES = 1,   /* there is no plan for these sizes */
    ${name}_POINTER = 2, /* the pointer to an array is NULL */
    ${name}_ARENA = 3,   /* the arena does not begin at a multiple of 64 */
    ${name}_SYSTEM = 4,  /* the system refused a file: errno says why */
    ${name}_FILE = 5,    /* a file is no safetensors file, or is cut off */
    ${name}_MISSING = 6, /* an array is not in the file */
    ${name}_DTYPE = 7,   /* an array in the file has another element type */
    ${name}_SHAPE = 8,   /* an array has another shape */
    ${name}_MEMORY = 9   /* the system gave no memory */
};
#define ${name}_CODE(result) ((result) < 0 ? -(result) % 16 : 0)
#define ${name}_ARRAY(result) ((result) < 0 ? -(result) / 16 - 1 : -1)

/* What a result says, in English. The text lasts until the thread asks again. */
const char *${name}_message(int result);

/* Of the arrays of a program: a row for each input, then parameter, then output, in the order of
   the fields of their structs. */
enum { ${name}_INPUT, ${name}_PARAMETER, ${name}_STATE, ${name}_OUTPUT };
typedef struct {
    const char *name;     /* in the program, and in files */
    const char *field;    /* in its struct */
    const char *dtype;    /* "float32"; complex numbers are pairs, along a last axis of 2 */
    const char *sizes;    /* the shape as text: "batch, 3" */
    const int64_t *shape; /* -1: depends on the sizes of a run, see ${name}_shape */
    int64_t bytes;        /* the same */
    int32_t rank;
    int32_t itemsize;     /* bytes of an element */
    int32_t kind;         /* ${name}_INPUT ...; STATE: of an optimizer, or a counter */
    int32_t updated;      /* 1: a run writes it */
} ${name}_array;
enum {
    ${name}_ARRAYS = $rows,
    ${name}_INPUTS = $inputs,
    ${name}_PARAMS = $params,
    ${name}_OUTPUTS = $outputs
};
extern const ${name}_array ${name}_arrays[$some_rows];

/* Write the shape of an array, by its number in the table, to shape unless it is NULL. Returns its
   bytes, or a negative result. */
int64_t ${name}_shape(${sizes}int32_t array, int64_t *shape);

/* The interface for which a program is compiled, and that of the library which it has loaded: if
   they differ, structs may differ. */
#define ${name}_INTERFACE UINT64_C($digest)
uint64_t ${name}_interface(void);

/* What made the library, and for which processor. */
const char *${name}_version(void);

/* Part of a kernel: iterations [begin, end). */
typedef void (*${name}_task)(void *job, int64_t begin, int64_t end);

/* Threads of the caller. `run` calls task(job, begin, end) for parts that cover [0, total), each of
   which begins at a multiple of grain, from any threads, and returns when all have ended. */
typedef struct {
    void (*run)(void *pool, ${name}_task task, void *job, int64_t total, int64_t grain);
    void *pool;
} ${name}_pool;

$lapack/* Bytes of memory that a run works in$unplanned.
   It begins at a multiple of 64, and keeps nothing between runs. */
size_t ${name}_arena_bytes($only_sizes);

/* Copy the values that the parameters had when the library was made. */
void ${name}_initial(const ${name}_params *params);

/* Run the program; pool may be NULL: one thread. Returns 0, or why it did not run, which
   ${name}_message explains. */
int ${name}_run(${sizes}const ${name}_inputs *inputs, const ${name}_params *params,
    const ${name}_outputs *outputs, void *arena, const ${name}_pool *pool);

/* Write all parameters and state into a safetensors file, or read them from one: an array for each,
   by the names in the table. sg.load(path, into=f) reads such a file, sg.save(path, f) writes one
   for ${name}_load. A file is replaced when it is whole; arrays are written only if all of them
   are in the file and fit. Others in the file are ignored. Returns 0, or a negative result. */
int ${name}_save(const char *path, const ${name}_params *params);
int ${name}_load(const char *path, const ${name}_params *params);

#ifdef __cplusplus
}
#endif
#endif
""")

LAPACK: Final = Template("""\
/* Functions of LAPACK and BLAS with 32-bit integers that it calls, by their names in Fortran:
   $how.
   A library with other names needs lines such as
       #define JUMP(f) __asm__(".globl " #f "_\\n" #f "_: jmp scipy_" #f "_@PLT");
       ${name}_LAPACK(JUMP) */
#define ${name}_LAPACK(f) $functions

""")

PLAN: Final = Template("""\
static int run$number(${sizes}const ${name}_inputs *inputs, const ${name}_params *params,
    const ${name}_outputs *outputs, char *const arena, const ${name}_pool *pool) {
    (void)arena, (void)inputs, (void)params, (void)outputs, (void)pool;
$steps
    return 0;
}
""")

#: Where buffers are, of a plan whose sizes are free: computed once for each thread and sizes.
PLACES: Final = Template("""\
static const live lives$number[$count] = {$lives};

/* Places of the buffers of plan $number, then the bytes of all; NULL of too many bytes. */
static const int64_t *places$number($sizes) {
    static _Thread_local int64_t known_[$free], o_[$count + 1];
    static _Thread_local int is_known_;
    const int64_t now_[$free] = {$names};
    if (!is_known_ || memcmp(known_, now_, sizeof now_)) {
        const int64_t bytes_[$count] = {$bytes};
        int32_t order_[$count], sorted_[$count];
        is_known_ = lay($count, lives$number, bytes_, o_, order_, sorted_);
        memcpy(known_, now_, sizeof now_);
    }
    return is_known_ ? o_ : 0;
}

""")

SOURCE: Final = Template("""\
#define _GNU_SOURCE
#include "$header"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORD(pointer) ((int64_t)(intptr_t)(pointer))
typedef void kernel(const int64_t *t, const int64_t *own, int64_t begin, int64_t end);
$kernels

extern const char ${name}_data[];
__asm__(
    ".section .rodata\\n"
    ".balign 64\\n"
    ".local ${name}_data\\n"
    "${name}_data:\\n"
    ".incbin \\"$data\\"\\n"
    ".byte 0\\n"
    ".previous\\n");

static inline int fail(int code, int array) { return -(code + 16 * (array + 1)); }

/* The pointer to an array, by its number in a struct of pointers. */
static inline void *pointer(const void *fields, int number) {
    void *found;
    memcpy(&found, (const char *)fields + number * sizeof found, sizeof found);
    return found;
}

/* -- sizes ------------------------------------------------------------------------------------ */

static inline int64_t floor_div(int64_t a, int64_t b) {
    return b ? a / b - (a % b && (a < 0) != (b < 0)) : 0;
}

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

typedef struct {
    int32_t first, last;
} live;

/* Places for buffers: the largest first, each in the lowest gap that is free while it is used.
   The last place is the number of bytes of all. Returns 0 for too many bytes. */
__attribute__((unused)) static int lay(int32_t count, const live *lives, const int64_t *bytes,
    int64_t *o, int32_t *order, int32_t *sorted) {
    int64_t peak = 0;
    for (int32_t n = 0; n < count; n++) {
        int32_t at = n;
        if (bytes[n] < 0 || bytes[n] > INT64_C(1) << 47) return 0;
        for (; at > 0 && bytes[order[at - 1]] < bytes[n]; at--) order[at] = order[at - 1];
        order[at] = n;
    }
    for (int32_t k = 0; k < count; k++) {
        const int32_t n = order[k];
        int64_t begin = 0;
        int32_t at = k;
        for (int32_t j = 0; j < k; j++) {
            const int32_t m = sorted[j];
            const int64_t end = o[m] + (bytes[m] + 63) / 64 * 64;
            if (lives[m].first > lives[n].last || lives[n].first > lives[m].last) continue;
            if (o[m] < begin + (bytes[n] + 63) / 64 * 64 && begin < end) begin = end;
        }
        for (; at > 0 && o[sorted[at - 1]] > begin; at--) sorted[at] = sorted[at - 1];
        sorted[at] = n;
        o[n] = begin;
        peak = larger(peak, begin + (bytes[n] + 63) / 64 * 64);
    }
    o[count] = peak;
    return peak <= INT64_C(1) << 47;
}

/* -- kernels ---------------------------------------------------------------------------------- */

typedef struct {
    kernel *code;
    const int64_t *t, *own;
    int64_t words, workers, total, grain;
} job;

static void part(void *given, int64_t begin, int64_t end) {
    const job *each = given;
    each->code(each->t, each->own, begin, end);
}

/* Shares of a kernel of which each worker has memory of its own. */
static void worker(void *given, int64_t begin, int64_t end) {
    const job *each = given;
    const int64_t groups = (each->total + each->grain - 1) / each->grain;
    for (int64_t n = begin; n < end; n++) {
        const int64_t first = groups * n / each->workers * each->grain;
        const int64_t after = groups * (n + 1) / each->workers * each->grain;
        each->code(each->t, each->own + n * each->words, first,
            after < each->total ? after : each->total);
    }
}

static void shared(const ${name}_pool *pool, kernel *code, const int64_t *t, const int64_t *own,
    int64_t words, int64_t workers, int64_t total, int64_t grain) {
    job each = {code, t, own, words, workers, total, grain};
    if (!pool || grain == 0 || total <= grain || (words && workers == 1))
        code(t, own, 0, total);
    else if (words)
        pool->run(pool->pool, worker, &each, workers, 1);
    else
        pool->run(pool->pool, part, &each, total, grain);
}

/* Threads of LAPACK are the caller's. */
static inline void unguarded(int64_t state, int64_t change) { (void)state, (void)change; }

/* -- the table -------------------------------------------------------------------------------- */

$shapes
const ${name}_array ${name}_arrays[$some_rows] = {
$table
};

uint64_t ${name}_interface(void) { return ${name}_INTERFACE; }

const char *${name}_version(void) { return $version; }

const char *${name}_message(int result) {
    static const char *const checks[] = {$checks};
    static const char *const errors[] = {
        "", $no_plan, "the pointer is NULL", "the arena does not begin at a multiple of 64",
        "the system refused the file", "the file is no safetensors file, or is cut off",
        "it is not in the file", "it has another element type", "it has another shape",
        "the system gave no memory"};
    static _Thread_local char text[256];
    const int code = ${name}_CODE(result), array = ${name}_ARRAY(result);
    if (result >= 0) return result < $count ? checks[result] : "unknown result";
    if (code < 1 || code > 9 || array >= ${name}_ARRAYS) return "unknown result";
    if (array < 0) return errors[code];
    snprintf(text, sizeof text, "%s: %s", ${name}_arrays[array].name, errors[code]);
    return text;
}

$fourier/* -- plans -- */

$plans
/* The number of the plan for sizes, -1 if there is none. */
static int plan_of($only_sizes) {
$choice
}

size_t ${name}_arena_bytes($only_sizes) {
    switch (plan_of($names)) {
$arenas
    }
    return 0;
}

int64_t ${name}_shape(${sizes}int32_t array, int64_t *shape) {
    int64_t none_[$most_rank], *s_ = shape ? shape : none_;
    if (plan_of($names) < 0) return fail(${name}_SIZES, -1);
    switch (array) {
$shaped
    }
    (void)s_;
    return fail(${name}_MISSING, -1);
}

void ${name}_initial(const ${name}_params *params) {
    (void)params;
$initial
}

int ${name}_run(${sizes}const ${name}_inputs *inputs, const ${name}_params *params,
    const ${name}_outputs *outputs, void *arena, const ${name}_pool *pool) {
    const int number = plan_of($names);
    if (number < 0) return fail(${name}_SIZES, -1);
    if (!arena || WORD(arena) % 64) return fail(${name}_ARENA, -1);
    for (int n = 0; n < ${name}_INPUTS; n++)
        if (!pointer(inputs, n)) return fail(${name}_POINTER, n);
    for (int n = 0; n < ${name}_PARAMS; n++)
        if (!pointer(params, n)) return fail(${name}_POINTER, ${name}_INPUTS + n);
    for (int n = 0; n < ${name}_OUTPUTS; n++)
        if (!pointer(outputs, n)) return fail(${name}_POINTER, ${name}_INPUTS + ${name}_PARAMS + n);
    switch (number) {
$runs
    }
    return fail(${name}_SIZES, -1);
}

$saving""")

#: Parameters to and from a safetensors file. What comes before the numbers is a constant.
SAVING: Final = Template("""\
/* -- files ------------------------------------------------------------------------------------ */

#include <errno.h>

static const char head[] = $head;

int ${name}_save(const char *path, const ${name}_params *params) {
    const size_t most = strlen(path) + 64;
    char *const temporary = malloc(most);
    FILE *file;
    int is_written = 0, why;
    if (!temporary) return fail(${name}_MEMORY, -1);
    for (int n = 0; n < ${name}_PARAMS; n++)
        if (!pointer(params, n)) {
            free(temporary);
            return fail(${name}_POINTER, ${name}_INPUTS + n);
        }
    snprintf(temporary, most, "%s.%ld-%p.tmp", path, (long)getpid(), (void *)&file);
    file = fopen(temporary, "wbx");
    if (file) {
        is_written = fwrite(head, 1, sizeof head - 1, file) == sizeof head - 1;
        for (int n = 0; n < ${name}_PARAMS && is_written; n++) {
            const size_t bytes = (size_t)${name}_arrays[${name}_INPUTS + n].bytes;
            is_written = fwrite(pointer(params, n), 1, bytes, file) == bytes;
        }
        is_written = is_written && !fflush(file) && !fsync(fileno(file));
        is_written = !fclose(file) && is_written && !rename(temporary, path);
    }
    why = errno;
    if (file && !is_written) remove(temporary);
    free(temporary);
    errno = why;
    return is_written ? 0 : fail(${name}_SYSTEM, -1);
}

/* What is left of a text in JSON. */
typedef struct {
    const unsigned char *at, *end;
} json;

static void blanks(json *t) {
    while (t->at < t->end && *t->at && strchr(" \\t\\n\\r", *t->at)) t->at++;
}

static int next_is(json *t, char wanted) {
    blanks(t);
    if (t->at == t->end || *t->at != (unsigned char)wanted) return 0;
    t->at++;
    return 1;
}

/* Four hexadecimal digits; -1 if they are not there. */
static int32_t hexadecimal(json *t) {
    int32_t found = 0;
    for (int n = 0; n < 4; n++, t->at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = t->at < t->end && *t->at ? strchr(digits, *t->at) : NULL;
        if (!digit) return -1;
        found = found * 16 + (int32_t)((digit - digits) % 16);
    }
    return found;
}

/* A text in quotes as UTF-8, which is not longer; 0 if there is none. */
static int next_text(json *t, char *to) {
    if (!next_is(t, '"')) return 0;
    while (t->at < t->end && *t->at != '"') {
        static const char escapes[] = "\\"\\\\/bfnrt", meant[] = "\\"\\\\/\\b\\f\\n\\r\\t";
        int32_t c = *t->at++;
        const char *found;
        if (c < ' ') return 0;
        if (c != '\\\\') {
            *to++ = (char)c;
            continue;
        }
        if (t->at == t->end) return 0;
        c = *t->at++;
        found = c ? strchr(escapes, c) : NULL;
        if (found) {
            *to++ = meant[found - escapes];
            continue;
        }
        if (c != 'u' || (c = hexadecimal(t)) <= 0) return 0;
        if (c >= 0xD800 && c < 0xE000) { /* half of a pair */
            int32_t low = -1;
            if (c < 0xDC00 && t->end - t->at > 2 && t->at[0] == '\\\\' && t->at[1] == 'u') {
                t->at += 2;
                low = hexadecimal(t);
            }
            if (low < 0xDC00 || low >= 0xE000) return 0;
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        }
        if (c < 0x80) *to++ = (char)c;
        else {
            const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
            *to++ = (char)((0xFF00 >> (more + 1) & 0xFF) | c >> 6 * more);
            for (int n = more - 1; n >= 0; n--) *to++ = (char)(0x80 | (c >> 6 * n & 0x3F));
        }
    }
    *to = 0;
    return next_is(t, '"');
}

static int next_number(json *t, int64_t *found) {
    const unsigned char *first;
    blanks(t);
    first = t->at;
    for (*found = 0; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
        if (*found > INT64_MAX / 10 - 1) return 0;
        *found = *found * 10 + (*t->at - '0');
    }
    return t->at > first;
}

/* An array in the file, as its header says. */
typedef struct {
    char dtype[16];
    int64_t shape[64], rank, begin, end;
} entry;

static int next_entry(json *t, char *text, entry *e) {
    int seen = 0;
    if (!next_is(t, '{')) return 0;
    do {
        if (!next_text(t, text) || !next_is(t, ':')) return 0;
        if (!strcmp(text, "dtype")) {
            if (!next_text(t, text) || strlen(text) >= sizeof e->dtype) return 0;
            strcpy(e->dtype, text);
            seen |= 1;
        } else if (!strcmp(text, "shape")) {
            e->rank = 0;
            if (!next_is(t, '[')) return 0;
            if (!next_is(t, ']')) {
                do
                    if (e->rank == 64 || !next_number(t, &e->shape[e->rank++])) return 0;
                while (next_is(t, ','));
                if (!next_is(t, ']')) return 0;
            }
            seen |= 2;
        } else if (!strcmp(text, "data_offsets")) {
            if (!next_is(t, '[') || !next_number(t, &e->begin) || !next_is(t, ',')) return 0;
            if (!next_number(t, &e->end) || !next_is(t, ']')) return 0;
            seen |= 4;
        } else
            return 0;
    } while (next_is(t, ','));
    return seen == 7 && next_is(t, '}') && e->begin <= e->end;
}

/* Texts by name, which are not read. */
static int next_notes(json *t, char *text) {
    if (!next_is(t, '{')) return 0;
    if (next_is(t, '}')) return 1;
    do
        if (!next_text(t, text) || !next_is(t, ':') || !next_text(t, text)) return 0;
    while (next_is(t, ','));
    return next_is(t, '}');
}

/* Where each parameter begins in the data, so many bytes, that a header describes. */
static int header_of(json *t, char *text, int64_t bytes, int64_t *begins) {
    static const char *const dtypes[] = {$dtypes};
    int64_t last = 0;
    entry e;
    for (int n = 0; n < ${name}_PARAMS; n++) begins[n] = -1;
    if (!next_is(t, '{')) return fail(${name}_FILE, -1);
    if (!next_is(t, '}')) {
        do {
            int n = 0;
            if (!next_text(t, text) || !next_is(t, ':')) return fail(${name}_FILE, -1);
            if (!strcmp(text, "__metadata__")) {
                if (!next_notes(t, text)) return fail(${name}_FILE, -1);
                continue;
            }
            while (n < ${name}_PARAMS && strcmp(text, ${name}_arrays[${name}_INPUTS + n].name)) n++;
            if (!next_entry(t, text, &e)) return fail(${name}_FILE, -1);
            last = larger(last, e.end);
            if (n < ${name}_PARAMS) {
                const ${name}_array *row = &${name}_arrays[${name}_INPUTS + n];
                int is_equal = e.rank == row->rank;
                if (begins[n] >= 0) return fail(${name}_FILE, -1);
                if (strcmp(e.dtype, dtypes[n])) return fail(${name}_DTYPE, ${name}_INPUTS + n);
                for (int axis = 0; axis < row->rank && is_equal; axis++)
                    is_equal = e.shape[axis] == row->shape[axis];
                if (!is_equal) return fail(${name}_SHAPE, ${name}_INPUTS + n);
                if (e.end - e.begin != row->bytes) return fail(${name}_FILE, -1);
                begins[n] = e.begin;
            }
        } while (next_is(t, ','));
        if (!next_is(t, '}')) return fail(${name}_FILE, -1);
    }
    blanks(t);
    if (t->at != t->end || last != bytes) return fail(${name}_FILE, -1);
    for (int n = 0; n < ${name}_PARAMS; n++)
        if (begins[n] < 0) return fail(${name}_MISSING, ${name}_INPUTS + n);
    return 0;
}

/* Bytes of a file that is read; 0 if the system refuses, or it ends before. */
static int bytes_at(FILE *file, int64_t at, void *to, size_t count) {
    return !fseeko(file, (off_t)at, SEEK_SET) && fread(to, 1, count, file) == count;
}

static int load(FILE *file, const ${name}_params *params) {
    unsigned char size[8];
    int64_t length = 0, total, begins[${name}_PARAMS + 1], all = 0;
    char *text, *values;
    json t;
    int result;
    if (fseeko(file, 0, SEEK_END) || (total = (int64_t)ftello(file)) < 0)
        return fail(${name}_SYSTEM, -1);
    if (total < 8) return fail(${name}_FILE, -1);
    if (!bytes_at(file, 0, size, 8)) return fail(${name}_SYSTEM, -1);
    for (int n = 7; n >= 0; n--) {
        if (length >> 40) return fail(${name}_FILE, -1);
        length = length << 8 | size[n];
    }
    if (length > total - 8) return fail(${name}_FILE, -1);
    for (int n = 0; n < ${name}_PARAMS; n++) all += ${name}_arrays[${name}_INPUTS + n].bytes;
    text = malloc(2 * (size_t)length + 1);
    values = malloc((size_t)all + 1);
    if (!text || !values) result = fail(${name}_MEMORY, -1);
    else if (!bytes_at(file, 8, text + length + 1, (size_t)length))
        result = fail(${name}_SYSTEM, -1);
    else {
        t.at = (const unsigned char *)text + length + 1, t.end = t.at + length;
        result = header_of(&t, text, total - 8 - length, begins);
    }
    all = 0;
    for (int n = 0; n < ${name}_PARAMS && !result; n++) {
        const size_t bytes = (size_t)${name}_arrays[${name}_INPUTS + n].bytes;
        if (!pointer(params, n)) result = fail(${name}_POINTER, ${name}_INPUTS + n);
        else if (!bytes_at(file, 8 + length + begins[n], values + all, bytes))
            result = fail(${name}_SYSTEM, -1);
        all += (int64_t)bytes;
    }
    all = 0;
    for (int n = 0; n < ${name}_PARAMS && !result; n++) {
        const ${name}_array *row = &${name}_arrays[${name}_INPUTS + n];
        if (!strcmp(row->dtype, "bool"))
            for (int64_t k = 0; k < row->bytes; k++) values[all + k] = values[all + k] != 0;
        memcpy(pointer(params, n), values + all, (size_t)row->bytes);
        all += row->bytes;
    }
    free(values);
    free(text);
    return result;
}

int ${name}_load(const char *path, const ${name}_params *params) {
    FILE *const file = fopen(path, "rb");
    int result;
    if (!file) return fail(${name}_SYSTEM, -1);
    result = load(file, params);
    fclose(file);
    return result;
}
""")
