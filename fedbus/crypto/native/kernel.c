#include "kernel.h"

#include <string.h>

#include "columns.h"

#if FEDBUS_IFMA

/* At most 6 * MAX_LIMBS halves of products are added to a column. */
typedef lanes Columns[2 * MAX_LIMBS + SPARE];

/* Find the `rows` limbs q that make the lowest columns of columns + q * m vanish, and carry those columns up. */
INLINE void find_quotient(lanes *columns, const Ring *ring, lanes *q, const int rows) {
    const lanes zero = _mm512_setzero_si512(), mask = _mm512_set1_epi64(LIMB_MASK);
    const lanes inverse = _mm512_set1_epi64((long long)ring->inverse);
    lanes sum[ROWS + 1];
    UNROLL for (int row = 0; row <= rows; row++) sum[row] = columns[row];
    UNROLL for (int row = 0; row < rows; row++) {
        q[row] = LOW(zero, sum[row], inverse);
        /* The column's lower 52 bits become 0 modulo 2^52: unless they were 0 that carries 1, whatever q is. */
        const __mmask8 carries = _mm512_test_epi64_mask(sum[row], mask);
        lanes next = _mm512_add_epi64(sum[row + 1], _mm512_srli_epi64(sum[row], LIMB_BITS));
        next = _mm512_mask_add_epi64(next, carries, next, _mm512_set1_epi64(1));
        sum[row + 1] = next;
        UNROLL for (int at = 0; at < rows - row; at++) {
            const lanes limb = _mm512_set1_epi64((long long)ring->m[at]);
            if (at) sum[row + at] = LOW(sum[row + at], limb, q[row]);
            sum[row + at + 1] = at + 1 < rows - row ? HIGH(sum[row + at + 1], limb, q[row]) : sum[row + at + 1];
        }
    }
    columns[rows] = sum[rows];
}

/* Add q * m to the columns from the one numbered `rows` on; those below are done with. */
INLINE void add_quotient(lanes *columns, const Ring *ring, const lanes *q, const int rows) {
    lanes factor[ROWS], sum[ROWS + 1];
    UNROLL for (int row = 0; row < rows; row++) factor[row] = q[row];
    UNROLL for (int row = 0; row <= rows; row++) sum[row] = columns[rows + row];
    UNROLL for (int at = 0; at < rows; at++) {
        const lanes limb = _mm512_set1_epi64((long long)ring->m[at]);
        UNROLL for (int row = 0; row < rows; row++) {
            if (at + row >= rows) sum[at + row - rows] = LOW(sum[at + row - rows], limb, factor[row]);
            if (at + row + 1 >= rows) sum[at + row + 1 - rows] = HIGH(sum[at + row + 1 - rows], limb, factor[row]);
        }
    }
    for (size_t at = (size_t)rows; at < ring->limbs; at++) {
        const lanes limb = _mm512_set1_epi64((long long)ring->m[at]);
        UNROLL for (int row = 0; row < rows; row++) sum[row] = LOW(sum[row], limb, factor[row]);
        UNROLL for (int row = 0; row < rows; row++) sum[row + 1] = HIGH(sum[row + 1], limb, factor[row]);
        columns[at] = sum[0];
        UNROLL for (int row = 0; row < rows; row++) sum[row] = sum[row + 1];
        sum[rows] = columns[at + rows + 1];
    }
    UNROLL for (int row = 0; row < rows; row++) columns[ring->limbs + row] = sum[row];
}

/* One block of both reductions. The quotient of the first is an addend of the second, which therefore runs a block
 * behind; so the two searches for a quotient, each one long chain of dependent steps, can overlap. */
INLINE void reduce_block(lanes *first, lanes *second, const Ring *ring, lanes *q, const int rows, const int behind) {
    lanes other[ROWS];
    if (behind) UNROLL for (int row = 0; row < behind; row++) second[row] = _mm512_add_epi64(second[row], q[row]);
    if (rows) find_quotient(first, ring, q, rows);
    if (behind) find_quotient(second, ring, other, behind);
    if (rows) add_quotient(first, ring, q, rows);
    if (behind) add_quotient(second, ring, other, behind);
}

/* z = the pair (r, (second + q) / R) where first = r * R - q * m. */
INLINE void reduce(const Ring *ring, lanes *z, lanes *first, lanes *second) {
    const size_t limbs = ring->limbs, whole = limbs / ROWS * ROWS;
    lanes q[ROWS] = {0};
    if (whole) {
        reduce_block(first, second, ring, q, ROWS, 0);
        for (size_t row = ROWS; row < whole; row += ROWS)
            reduce_block(first + row, second + row - ROWS, ring, q, ROWS, ROWS);
    }
    lanes *last = second + (whole ? whole - ROWS : 0);
#define FINISH(rows)                                                     \
    if (whole) reduce_block(first + whole, last, ring, q, rows, ROWS);   \
    else reduce_block(first, second, ring, q, rows, 0);                  \
    if (rows) reduce_block(first, second + whole, ring, q, 0, rows)
    switch (limbs - whole) {
    case 0: reduce_block(first, last, ring, q, 0, ROWS); break;
    case 2: FINISH(2); break;
    case 4: FINISH(4); break;
    case 6: FINISH(6); break;
    }
#undef FINISH
    normalize(z, first + limbs, limbs);
    normalize(z + limbs, second + limbs, limbs);
}

IFMA void lanes_multiply(const Ring *ring, lanes *z, const lanes *x, const lanes *y) {
    const size_t limbs = ring->limbs;
    Columns first, second;
    clear(first, 2 * limbs + SPARE);
    clear(second, 2 * limbs + SPARE);
    add_product(first, x, y, limbs);
    add_product(second, x, y + limbs, limbs);
    add_product(second, x + limbs, y, limbs);
    reduce(ring, z, first, second);
}

IFMA void lanes_square(const Ring *ring, lanes *z, const lanes *x) {
    const size_t limbs = ring->limbs;
    Columns first, second;
    clear(first, 2 * limbs + SPARE);
    clear(second, 2 * limbs + SPARE);
    add_product(first, x, x, limbs);
    add_product(second, x, x + limbs, limbs);
    for (size_t at = 0; at < 2 * limbs; at++) second[at] = _mm512_add_epi64(second[at], second[at]);
    reduce(ring, z, first, second);
}

IFMA void lanes_fold(const Ring *ring, lanes *z, const lanes *value) {
    const size_t limbs = ring->limbs;
    Columns first, second;
    memcpy(first, value, 2 * limbs * sizeof(lanes));
    clear(first + 2 * limbs, SPARE);
    clear(second, 2 * limbs + SPARE);
    reduce(ring, z, first, second);
}

IFMA void lanes_unfold(const Ring *ring, lanes *value, const lanes *x) {
    const size_t limbs = ring->limbs;
    const lanes mask = _mm512_set1_epi64(LIMB_MASK);
    Columns columns;
    lanes low[MAX_LIMBS], high[MAX_LIMBS], modulus[MAX_LIMBS];
    memcpy(low, x, limbs * sizeof(lanes));
    memcpy(high, x + limbs, limbs * sizeof(lanes));
    /* The value is low + (m - high) * m; with low - m in the place of low the bracket becomes one more. It is at most
     * m + 1 then, so one more subtraction brings it below m. */
    const __mmask8 reduced = subtract_once(low, ring->m, limbs);
    subtract_once(high, ring->m, limbs);
    lanes borrow = _mm512_maskz_set1_epi64(reduced, 1);
    for (size_t at = 0; at < limbs; at++) {
        modulus[at] = _mm512_set1_epi64((long long)ring->m[at]);
        borrow = _mm512_add_epi64(_mm512_sub_epi64(modulus[at], high[at]), borrow);
        high[at] = _mm512_and_si512(borrow, mask);
        borrow = _mm512_srai_epi64(borrow, LIMB_BITS);
    }
    subtract_once(high, ring->m, limbs);
    clear(columns, 2 * limbs + SPARE);
    memcpy(columns, low, limbs * sizeof(lanes));
    add_product(columns, high, modulus, limbs);
    normalize(value, columns, 2 * limbs);
}

#endif
