/* Eight points from and to bytes; powers in the field, by the addition chain of Bernstein's curve25519 (2006): 254
 * squarings and 11 products. */

#include <string.h>

#include "field.h"

#if FEDBUS_IFMA

IFMA Factor field_load(const uint8_t *points) {
    uint64_t words[4][LANES];
    for (int lane = 0; lane < LANES; lane++)
        for (int k = 0; k < 4; k++) memcpy(&words[k][lane], points + lane * POINT_BYTES + k * 8, 8);
    lanes vectors[4];
    for (int k = 0; k < 4; k++) vectors[k] = _mm512_loadu_si512(words[k]);
    return load(vectors);
}

IFMA void field_dump(uint8_t *to, Factor u) {
    uint64_t words[4][LANES];
    lanes vectors[4];
    dump(vectors, u);
    for (int k = 0; k < 4; k++) _mm512_storeu_si512(words[k], vectors[k]);
    for (int lane = 0; lane < LANES; lane++)
        for (int k = 0; k < 4; k++) memcpy(to + lane * POINT_BYTES + k * 8, &words[k][lane], 8);
}

/* The vectors side by side: one alone would wait for each instruction of a squaring. */
IFMA static void square_times(Factor *a, size_t count, int number) {
    for (int i = 0; i < number; i++)
        for (size_t k = 0; k < count; k++) a[k] = narrow(square(a[k]));
}

IFMA static void multiply_all(Factor *a, const Factor *b, size_t count) {
    for (size_t k = 0; k < count; k++) a[k] = times(a[k], b[k]);
}

static void copy(Factor *to, const Factor *from, size_t count) {
    /* Without this the compiler warns of vectors that are never set. */
    if (!count) __builtin_unreachable();
    memcpy(to, from, count * sizeof *to);
}

/* a to the power 2^(2 n) - 1, or 2^(n + m) - 1, of what is 2^n - 1 already: shift and multiply. */
IFMA static void extend(Factor *a, const Factor *by, size_t count, int bits) {
    square_times(a, count, bits);
    multiply_all(a, by, count);
}

/* a^(2^250 - 1) to `run`, a^11 to `eleven` and a^2 to `two`. */
IFMA static void power_250(Factor *run, Factor *eleven, Factor *two, const Factor *a, size_t count) {
    Factor ten[SIDE], fifty[SIDE], part[SIDE];
    copy(two, a, count);
    square_times(two, count, 1);
    copy(run, two, count);
    square_times(run, count, 2);
    multiply_all(run, a, count); /* a^9 */
    copy(eleven, run, count);
    multiply_all(eleven, two, count);
    copy(part, eleven, count);
    square_times(part, count, 1);
    multiply_all(run, part, count); /* 2^5 - 1 */
    copy(part, run, count);
    extend(run, part, count, 5);
    copy(ten, run, count);
    extend(run, ten, count, 10);
    copy(part, run, count);
    extend(run, part, count, 20);
    extend(run, ten, count, 10);
    copy(fifty, run, count);
    extend(run, fifty, count, 50);
    copy(part, run, count);
    extend(run, part, count, 100);
    extend(run, fifty, count, 50);
}

IFMA void field_characters(Factor *a, size_t count) {
    Factor run[SIDE], eleven[SIDE], two[SIDE], four[SIDE];
    power_250(run, eleven, two, a, count);
    /* (p - 1) / 2 = 2^4 (2^250 - 1) + 6 */
    square_times(run, count, 4);
    copy(four, two, count);
    square_times(four, count, 1);
    multiply_all(run, four, count);
    multiply_all(run, two, count);
    copy(a, run, count);
}

IFMA static Factor inverse(Factor a) {
    Factor run, eleven, two;
    power_250(&run, &eleven, &two, &a, 1);
    /* p - 2 = 2^5 (2^250 - 1) + 11 */
    square_times(&run, 1, 5);
    return times(run, eleven);
}

/* Montgomery's trick: one inversion for all vectors, three products each. */
IFMA void field_divide(Factor *numerators, Factor *denominators, size_t count) {
    const Factor zero = constant(0), one = constant(1);
    Factor before[BLOCK], product = one;
    for (size_t i = 0; i < count; i++) {
        const __mmask8 empty = is_zero(denominators[i]);
        denominators[i] = choose(empty, denominators[i], one);
        numerators[i] = choose(empty, numerators[i], zero);
        before[i] = product;
        product = times(product, denominators[i]);
    }
    product = inverse(product);
    for (size_t i = count; i-- > 0;) {
        numerators[i] = times(numerators[i], times(product, before[i]));
        product = times(product, denominators[i]);
    }
}

#endif
