/* The judge of test vectors (docs/vectors.md) in one header, for C99 and C++11. No Python is needed: copy this file and vectors/.

   static int answer(const xv_case *c, void *out);  writes c->count values of c->dtype; returns 0, or 1 where the case is not offered
   int main(int argc, char **argv) { return xv_judge(argv[1], answer); }

   Each value has to lie in the case's range, or be one of the words that the case accepts there; of "all -inf" and "+inf present"
   one word is to be kept. A subnormal result that is flushed to 0 fails. Failures are printed. The result is 0 (nothing failed), 1 (something did), 2 (no such file), 5 (nothing was
   offered). What needs further calls (batches, layouts, laws) and the search for causes are `xent-verify`'s.

   float16 and bfloat16 come as uint16_t, bits as they are. softmax.c beside this file is an example. */
#ifndef XENT_VECTORS_H
#define XENT_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char id[128], op[64], dtype[16];
    const char *options;   /* JSON; xv_option finds one */
    size_t ndim, shape[8]; /* of the first input */
    size_t axis, n, rows;  /* the axis of the classes, its length, and the number of rows */
    size_t count;          /* values of the answer */
    const void *x;         /* the first input, in row-major order */
    const int64_t *labels; /* class labels, or NULL */
    const void *shares;    /* probabilities, or NULL */
} xv_case;

typedef int (*xv_function)(const xv_case *, void *out);

/* The text of an option's value, up to whatever follows it; NULL where the option has its default. */
static const char *xv_option(const xv_case *c, const char *name) {
    char key[80];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *found = strstr(c->options, key), *end = strstr(c->options, ", \"inputs\": ");
    return found && found < end ? found + strlen(key) : NULL;
}

static size_t xv_width(const char *dtype) { return !strcmp(dtype, "float64") ? 8 : !strcmp(dtype, "float32") ? 4 : 2; }

static double xv_number(uint64_t bits, const char *dtype) {
    double wide;
    float narrow;
    uint32_t word = (uint32_t)bits;
    if (!strcmp(dtype, "float64")) return memcpy(&wide, &bits, 8), wide;
    if (!strcmp(dtype, "float16")) {
        int exponent = word >> 10 & 31, fraction = word & 1023;
        wide = exponent == 31 ? (fraction ? NAN : INFINITY) : ldexp(exponent ? fraction + 1024 : fraction, (exponent ? exponent : 1) - 25);
        return word >> 15 ? -wide : wide;
    }
    word <<= !strcmp(dtype, "bfloat16") ? 16 : 0;
    return memcpy(&narrow, &word, 4), (double)narrow;
}

static uint64_t xv_word(const void *values, size_t i, size_t width) {
    if (width == 8) return ((const uint64_t *)values)[i];
    return width == 4 ? ((const uint32_t *)values)[i] : ((const uint16_t *)values)[i];
}

/* What stands behind "KEY": between two places; NULL without one. */
static const char *xv_after(const char *from, const char *end, const char *key) {
    const char *found = from ? strstr(from, key) : NULL;
    return found && found < end ? found + strlen(key) : NULL;
}

static size_t xv_list(const char *from, size_t *out, size_t most) { /* "3, 4]" */
    size_t count = 0;
    for (; from && *from != ']' && count < most; from += strspn(from, ", ")) out[count++] = strtoul(from, (char **)&from, 10);
    return count;
}

static void *xv_words(const char *from, size_t width, size_t count) { /* hex words up to a quotation mark */
    void *made = calloc(count + 1, width);
    for (size_t i = 0; from && *from != '"' && i < count; i++, from += *from == ' ') {
        uint64_t word = strtoull(from, (char **)&from, 16);
        if (width == 8) ((uint64_t *)made)[i] = word;
        else if (width == 4) ((uint32_t *)made)[i] = (uint32_t)word;
        else ((uint16_t *)made)[i] = (uint16_t)word;
    }
    return made;
}

static void xv_text(const char *from, char *out, size_t most) {
    size_t length = strcspn(from, "\"");
    snprintf(out, most, "%.*s", (int)length, from);
}

static int xv_near(double y, double wanted, const char *dtype) {
    double unit = !strcmp(dtype, "bfloat16") ? 1.0 / 64 : !strcmp(dtype, "float16") ? 1.0 / 512 : 1.0 / (1 << 20);
    return y == wanted || fabs(y - wanted) <= unit * fabs(wanted);
}

/* Whether element i of the first input is +inf. */
static int xv_top(const xv_case *c, size_t i) {
    double x = xv_number(xv_word(c->x, i, xv_width(c->dtype)), c->dtype);
    return isinf(x) && x > 0;
}

/* Whether a value is what a word of "special" says (docs/vectors.md). */
static int xv_is(const char *word, const xv_case *c, size_t i, double y) {
    int logs = !strcmp(c->op, "log_softmax");
    if (!strcmp(word, "nan")) return isnan(y);
    if (!strcmp(word, "zero")) return y == 0;
    if (!strcmp(word, "inf")) return isinf(y) && y > 0;
    if (!strcmp(word, "-inf")) return isinf(y) && y < 0;
    if (!strcmp(word, "finite")) return isfinite(y);
    if (!strcmp(word, "other")) return 1;
    if (!strcmp(word, "uniform")) return xv_near(y, logs ? -log((double)c->n) : 1.0 / (double)c->n, c->dtype);
    if (!strcmp(word, "limit")) { /* as if +inf were a number that grows without end */
        size_t stride = 1, tops = 0, start;
        for (size_t k = c->axis + 1; k < c->ndim; k++) stride *= c->shape[k];
        start = i - i / stride % c->n * stride;
        for (size_t j = 0; j < c->n; j++) tops += (size_t)xv_top(c, start + j * stride);
        if (!xv_top(c, i)) return logs ? isinf(y) && y < 0 : y == 0;
        return xv_near(y, logs ? -log((double)tops) : 1.0 / (double)tops, c->dtype);
    }
    return 0;
}

typedef struct {
    char situation[64], word[16];
} xv_kept;

/* Whether element i may have a value outside its range; *broken: that another word was kept before. */
static int xv_special(const char *from, const char *end, const xv_case *c, size_t i, double y, xv_kept *kept, int *broken) {
    int accepted = 0;
    for (const char *at = from; (at = xv_after(at, end, "\"situation\": \"")) != NULL;) {
        char situation[64], word[16], only[16] = "";
        size_t elements[4096], count = xv_list(xv_after(at, end, "\"elements\": ["), elements, 4096), place = 0, fits = 0;
        xv_text(at, situation, sizeof situation);
        while (place < count && elements[place] != i) place++;
        if (place == count) continue;
        const char *words = xv_after(at, end, "\"accept\": ["), *close = strchr(words, ']');
        for (; (words = xv_after(words, close, "\"")) != NULL; words = strchr(words, '"') + 1) {
            xv_text(words, word, sizeof word);
            if (xv_is(word, c, i, y)) fits++, strcpy(only, word);
        }
        accepted |= fits > 0;
        if (fits != 1 || (strcmp(situation, "all -inf") && (strcmp(situation, "+inf present") || !xv_top(c, i)))) continue;
        for (; kept->word[0] && strcmp(kept->situation, situation); kept++) {}
        *broken |= kept->word[0] && strcmp(kept->word, only);
        if (!kept->word[0]) strcpy(kept->situation, situation), strcpy(kept->word, only);
    }
    return accepted;
}

static int xv_judge(const char *path, xv_function answer) {
    FILE *file = fopen(path, "rb");
    if (!file) return fprintf(stderr, "%s: cannot be read\n", path), 2;
    fseek(file, 0, SEEK_END);
    size_t length = (size_t)ftell(file);
    char *text = (char *)calloc(length + 1, 1);
    rewind(file);
    length = fread(text, 1, length, file);
    fclose(file);
    xv_kept kept[16];
    memset(kept, 0, sizeof kept);
    size_t passed = 0, failed = 0, skipped = 0;
    for (char *line = text, *end; line && *line; line = end + (*end == '\n')) {
        end = line + strcspn(line, "\n");
        const char *id = xv_after(line, end, "{\"id\": \"");
        if (!id) continue; /* every case stands on a line of its own */
        xv_case c;
        memset(&c, 0, sizeof c);
        xv_text(id, c.id, sizeof c.id);
        xv_text(xv_after(id, end, "\"op\": \""), c.op, sizeof c.op);
        xv_text(xv_after(id, end, "\"dtype\": \""), c.dtype, sizeof c.dtype);
        c.options = xv_after(id, end, "\"options\": ");
        size_t width = xv_width(c.dtype), size = 1, dims[8], some, labelled;
        const char *inputs = xv_after(id, end, "\"inputs\": "), *first = xv_after(inputs, end, "\"shape\": [");
        const char *result = xv_after(xv_after(inputs, end, "}}, "), end, "\"shape\": ["), *low = xv_after(result, end, "\"low\": \"");
        c.ndim = xv_list(first, c.shape, 8);
        for (size_t k = 0; k < c.ndim; k++) size *= c.shape[k];
        const char *axis = xv_option(&c, "axis");
        c.axis = (size_t)((axis ? atol(axis) : -1) + (axis && *axis != '-' ? 0 : (long)c.ndim));
        c.n = c.ndim ? c.shape[c.axis] : 1;
        c.rows = c.n ? size / c.n : 0;
        void *x = xv_words(xv_after(first, end, "\"bits\": \""), width, size), *shares = NULL;
        int64_t *labels = NULL;
        const char *target = xv_after(first, result, "\"target\": ");
        if (target && (labelled = xv_list(xv_after(target, end, "\"shape\": ["), dims, 8)) == 1) {
            const char *at = xv_after(target, end, "\"values\": [");
            labels = (int64_t *)calloc(dims[0] + 1, sizeof *labels);
            for (some = 0; *at != ']'; at += strspn(at, ", ")) labels[some++] = strtoll(at, (char **)&at, 10);
        } else if (target) {
            shares = xv_words(xv_after(target, end, "\"bits\": \""), width, size);
        }
        some = xv_list(result, dims, 8);
        for (c.count = 1; some; some--) c.count *= dims[some - 1];
        c.x = x, c.labels = labels, c.shares = shares;
        void *out = calloc(c.count + 1, width), *least, *most;
        least = xv_words(low, width, c.count);
        most = xv_words(xv_after(low, end, "\"high\": \""), width, c.count);
        size_t wrong = 0, given = !answer(&c, out);
        for (size_t i = 0; given && i < c.count; i++) {
            double y = xv_number(xv_word(out, i, width), c.dtype), from = xv_number(xv_word(least, i, width), c.dtype);
            double to = xv_number(xv_word(most, i, width), c.dtype);
            int broken = 0, right = isnan(from) ? isnan(y) : y >= from && y <= to;
            right |= xv_special(xv_after(low, end, "\"special\": ["), end, &c, i, y, kept, &broken);
            if (right && !broken) continue;
            if (!wrong++) printf("FAIL %s [%zu]: %.17g is not in [%.17g, %.17g]%s\n", c.id, i, y, from, to, broken ? ", two words" : "");
        }
        skipped += !given, passed += given && !wrong, failed += wrong > 0;
        free(x), free(shares), free(labels), free(out), free(least), free(most);
    }
    free(text);
    printf("%zu passed, %zu failed, %zu not offered\n", passed, failed, skipped);
    return failed ? 1 : passed ? 0 : 5;
}

#endif
