#include "plain.h"

#include "columns.h"

#if FEDBUS_IFMA

/* The columns of x * y below `end`; those above are not complete. */
INLINE void add_lower(lanes *columns, const lanes *x, const lanes *y, size_t length, size_t end) {
    size_t row = 0;
    for (; row + ROWS <= length && row < end; row += ROWS)
        add_rows(columns + row, x, end - row < length ? end - row : length, y + row, ROWS);
    for (; row < length && row < end; row += 2)
        add_rows(columns + row, x, end - row < length ? end - row : length, y + row, 2);
}

/* The columns of x * y from `begin` on, without what lower columns would carry up. */
INLINE void add_upper(lanes *columns, const lanes *x, const lanes *y, size_t length, size_t begin) {
    size_t row = 0;
    for (; row + ROWS <= length; row += ROWS) {
        /* A limb of x and a row meet in two columns. */
        const size_t skipped = begin > row + ROWS ? begin - row - ROWS : 0;
        add_rows(columns + row + skipped, x + skipped, length - skipped, y + row, ROWS);
    }
    for (; row < length; row += 2) {
        const size_t skipped = begin > row + 2 ? begin - row - 2 : 0;
        add_rows(columns + row + skipped, x + skipped, length - skipped, y + row, 2);
    }
}

IFMA void plain_multiply(const Modulus *modulus, lanes *z, const lanes *x, const lanes *y) {
    const size_t limbs = modulus->limbs, length = modulus->length;
    const lanes mask = _mm512_set1_epi64(LIMB_MASK);
    lanes columns[2 * MAX_LENGTH + SPARE], product[2 * MAX_LENGTH + SPARE], factor[MAX_LENGTH];

    clear(columns, 2 * length + SPARE);
    add_product(columns, x, y, length);
    normalize(product, columns, 2 * limbs);
    clear(product + 2 * limbs, 2 * (length - limbs));

    /* The quotient, from the upper limbs. What is left out makes it smaller by 3 at the most: 2 as in the handbook, and
     * less than 1 for the columns below limbs - 1, which are together less than the unit of the column limbs + 1. */
    for (size_t at = 0; at < length; at++) factor[at] = _mm512_set1_epi64((long long)modulus->quotient[at]);
    clear(columns, 2 * length + SPARE);
    add_upper(columns, product + limbs - 1, factor, length, limbs - 1);
    normalize(columns, columns + limbs - 1, length + 2);
    /* columns[k] now holds column limbs - 1 + k. */
    for (size_t at = 0; at < length; at++) factor[at] = columns[at + 2];

    /* The remainder is below 4 times the modulus, so its lower limbs + 1 limbs are all that there is. */
    lanes divisor[MAX_LENGTH], borrow = _mm512_setzero_si512();
    for (size_t at = 0; at < length; at++) divisor[at] = _mm512_set1_epi64((long long)modulus->modulus[at]);
    clear(columns, 2 * length + SPARE);
    add_lower(columns, factor, divisor, length, limbs + 1);
    normalize(columns, columns, limbs + 1);
    for (size_t at = 0; at <= limbs; at++) {
        borrow = _mm512_add_epi64(_mm512_sub_epi64(product[at], columns[at]), borrow);
        z[at] = _mm512_and_si512(borrow, mask);
        borrow = _mm512_srai_epi64(borrow, LIMB_BITS);
    }
    for (size_t at = limbs + 1; at < length; at++) z[at] = _mm512_setzero_si512();
    for (int times = 0; times < 3 && subtract_once(z, modulus->modulus, limbs + 1); times++) {
    }
}

#endif
