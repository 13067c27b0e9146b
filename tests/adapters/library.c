/* Softmaxes in C: right, without the shift, past the end, never written, flushing; a loss and a gradient. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

void softmax_row(const float *x, float *out, size_t n) {
    float m = -INFINITY, s = 0;
    for (size_t i = 0; i < n; i++) if (x[i] > m) m = x[i];
    for (size_t i = 0; i < n; i++) s += out[i] = expf(x[i] - m);
    for (size_t i = 0; i < n; i++) out[i] /= s;
}

void softmax_unshifted(const float *x, float *out, size_t n) {
    float s = 0;
    for (size_t i = 0; i < n; i++) s += out[i] = expf(x[i]);
    for (size_t i = 0; i < n; i++) out[i] /= s;
}

void softmax_rows(const float *x, float *out, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++) softmax_row(x + r * n, out + r * n, n);
}

void softmax_strided(const double *x, double *out, size_t rows, size_t n, ptrdiff_t row_stride, ptrdiff_t stride,
                     ptrdiff_t out_row_stride, ptrdiff_t out_stride) {
    for (size_t r = 0; r < rows; r++) {
        const double *a = x + (ptrdiff_t)r * row_stride;
        double *b = out + (ptrdiff_t)r * out_row_stride, m = -INFINITY, s = 0;
        for (size_t i = 0; i < n; i++) if (a[(ptrdiff_t)i * stride] > m) m = a[(ptrdiff_t)i * stride];
        for (size_t i = 0; i < n; i++) s += b[(ptrdiff_t)i * out_stride] = exp(a[(ptrdiff_t)i * stride] - m);
        for (size_t i = 0; i < n; i++) b[(ptrdiff_t)i * out_stride] /= s;
    }
}

float lse(const float *x, size_t n) {
    float m = -INFINITY, s = 0;
    for (size_t i = 0; i < n; i++) if (x[i] > m) m = x[i];
    for (size_t i = 0; i < n; i++) s += expf(x[i] - m);
    return m + logf(s);
}

void loss(const float *x, const int32_t *target, float *out, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++) out[r] = lse(x + r * n, n) - x[r * n + target[r]];
}

float loss_of_row(const float *x, int64_t target, size_t n) { return lse(x, n) - x[target]; }

void copy(const uint16_t *x, uint16_t *out, size_t rows, size_t n) { memcpy(out, x, rows * n * sizeof *x); }

void widen(const uint16_t *x, float *out, size_t n) { /* bfloat16 */
    for (size_t i = 0; i < n; i++) { uint32_t bits = (uint32_t)x[i] << 16; memcpy(out + i, &bits, sizeof bits); }
}

double first_of_row(const float *x, size_t n) { return n ? (double)x[0] + 0x1p-40 : 0; }

void past_the_end(const float *x, float *out, size_t n) { softmax_row(x, out, n); out[n] = 0; }

void forgets_the_last(const float *x, float *out, size_t n) { if (n) softmax_row(x, out, n - 1); }

void writes_to_its_input(float *x, float *out, size_t n) { softmax_row(x, out, n); memcpy(x, out, n * sizeof *x); }

void flushes(const float *x, float *out, size_t n) {
#ifdef __SSE__
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    softmax_row(x, out, n);
}

void crashes(const float *x, float *out, size_t n) { (void)x; (void)n; *(volatile float *)0 = out[0]; }

/* The result before the input, and a return value besides. */
double softmax_into(int n, float *out, const float *x) {
    softmax_row(x, out, (size_t)n);
    return n;
}
