/* Answers float32 softmax vectors (docs/vectors.md): cc -O2 -ffp-contract=off reader.c -o reader -lm
   ./reader < vectors/softmax-float32.json > answers.json
   xent-verify vectors judge vectors/softmax-float32.json answers.json
   A case stands on a line of its own, so string search is parser enough. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void softmax(const float *x, float *out, size_t n) { /* put your own here */
    float top = x[0], sum = 0;
    for (size_t i = 1; i < n; i++) if (x[i] > top) top = x[i];
    for (size_t i = 0; i < n; i++) sum += out[i] = expf(x[i] - top);
    for (size_t i = 0; i < n; i++) out[i] /= sum;
}

int main(void) {
    static char line[1 << 20];
    static float x[1 << 16], y[1 << 16];
    const char *comma = "";
    printf("{\"format\": \"xent-verify answers\", \"version\": 1, \"target\": \"softmax in C\", \"answers\": {\n");
    while (fgets(line, sizeof line, stdin)) {
        char *id = strstr(line, "{\"id\": \""), *end, *shape, *word;
        if (!id) continue;
        id += 8, end = strchr(id, '"');
        printf("%s\"%.*s\": ", comma, (int)(end - id), id), comma = ",\n";
        if (!strstr(end, "\"op\": \"softmax\", \"dtype\": \"float32\"") || strstr(end, "\"axis\"")) {
            printf("null"); /* not offered here */
            continue;
        }
        size_t n = 1, count = 0;
        for (shape = strstr(end, "\"shape\": [") + 9; *shape != ']'; n = strtoul(shape + 1, &shape, 10)) {}
        for (word = strstr(end, "\"bits\": \"") + 9; *word != '"'; word += *word == ' ', count++) {
            unsigned bits = strtoul(word, &word, 16);
            memcpy(&x[count], &bits, sizeof bits);
        }
        for (size_t i = 0; i < count; i += n) softmax(x + i, y + i, n);
        for (size_t i = 0; i < count; i++) {
            unsigned bits;
            memcpy(&bits, &y[i], sizeof bits);
            printf("%s%08x", i ? " " : "\"", bits);
        }
        printf("\"");
    }
    printf("\n}}\n");
    return 0;
}
