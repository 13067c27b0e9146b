/* Softmax in place as inference engines in C have it: the sum in double, a reciprocal at the end. */
#include <math.h>
#include <stddef.h>

void soft_max(float *x, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++, x += n) {
        float top = -INFINITY;
        double sum = 0;
        for (size_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
        for (size_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - top);
        float scale = (float)(1.0 / sum);
        for (size_t i = 0; i < n; i++) x[i] *= scale;
    }
}
