/* Columns: sums of halves of products of limbs, each half below 2^52. 64 bits hold 4096 of them, and no carry is needed
 * before the end. */

#ifndef FEDBUS_COLUMNS_H
#define FEDBUS_COLUMNS_H

#include "lanes.h"

#if FEDBUS_IFMA

#define LOW(sum, a, b) _mm512_madd52lo_epu64(sum, a, b)
#define HIGH(sum, a, b) _mm512_madd52hi_epu64(sum, a, b)
#define UNROLL _Pragma("GCC unroll 16")

/* Columns beyond those of a product that are read or written as well. */
#define SPARE (ROWS + 2)

/* Add x times `rows` limbs of y to the columns. The running columns stay in registers and slide along x: a column is
 * loaded once, takes all its products and is stored once. */
INLINE void add_rows(lanes *columns, const lanes *x, size_t limbs, const lanes *y, const int rows) {
    lanes factor[ROWS], sum[ROWS + 1];
    UNROLL for (int row = 0; row < rows; row++) {
        factor[row] = y[row];
        sum[row] = columns[row];
    }
    sum[rows] = columns[rows];
    for (size_t at = 0; at < limbs; at++) {
        const lanes limb = x[at];
        UNROLL for (int row = 0; row < rows; row++) sum[row] = LOW(sum[row], limb, factor[row]);
        UNROLL for (int row = 0; row < rows; row++) sum[row + 1] = HIGH(sum[row + 1], limb, factor[row]);
        columns[at] = sum[0];
        UNROLL for (int row = 0; row < rows; row++) sum[row] = sum[row + 1];
        sum[rows] = columns[at + rows + 1];
    }
    UNROLL for (int row = 0; row < rows; row++) columns[limbs + row] = sum[row];
}

/* Add x * y to 2 * limbs columns. */
INLINE void add_product(lanes *columns, const lanes *x, const lanes *y, size_t limbs) {
    size_t row = 0;
    for (; row + ROWS <= limbs; row += ROWS) add_rows(columns + row, x, limbs, y + row, ROWS);
    switch (limbs - row) {
    case 2: add_rows(columns + row, x, limbs, y + row, 2); break;
    case 4: add_rows(columns + row, x, limbs, y + row, 4); break;
    case 6: add_rows(columns + row, x, limbs, y + row, 6); break;
    }
}

/* Carry columns up so that each keeps 52 bits. */
INLINE void normalize(lanes *z, const lanes *columns, size_t limbs) {
    const lanes mask = _mm512_set1_epi64(LIMB_MASK);
    lanes carry = _mm512_setzero_si512();
    for (size_t at = 0; at < limbs; at++) {
        carry = _mm512_add_epi64(columns[at], carry);
        z[at] = _mm512_and_si512(carry, mask);
        carry = _mm512_srli_epi64(carry, LIMB_BITS);
    }
}

INLINE void clear(lanes *columns, size_t count) {
    for (size_t at = 0; at < count; at++) columns[at] = _mm512_setzero_si512();
}

/* Subtract m, the same in all lanes, where that leaves no negative number; returns the lanes where it did. */
INLINE __mmask8 subtract_once(lanes *x, const uint64_t *m, size_t limbs) {
    const lanes mask = _mm512_set1_epi64(LIMB_MASK);
    lanes difference[2 * MAX_LIMBS + 2], borrow = _mm512_setzero_si512();
    for (size_t at = 0; at < limbs; at++) {
        borrow = _mm512_add_epi64(_mm512_sub_epi64(x[at], _mm512_set1_epi64((long long)m[at])), borrow);
        difference[at] = _mm512_and_si512(borrow, mask);
        borrow = _mm512_srai_epi64(borrow, LIMB_BITS);
    }
    const __mmask8 fits = _mm512_cmpeq_epi64_mask(borrow, _mm512_setzero_si512());
    if (fits)
        for (size_t at = 0; at < limbs; at++) x[at] = _mm512_mask_mov_epi64(x[at], fits, difference[at]);
    return fits;
}

#endif
#endif
