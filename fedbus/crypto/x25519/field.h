/* The field of 2^255 - 19, eight elements at a time: five limbs of 52 bits, so that products of limbs fall on limbs.
 *
 * Two forms, which the types keep apart:
 *
 *   Factor   what a multiplication takes. The low 52 bits of each limb count, and limb 4 is below 2^48; bits above 52 are
 *            ignored, as the multiply-add instruction does, which saves masking them.
 *   Wide     what a multiplication gives, and sums of that: every bit of a limb counts. A product's limbs are
 *            below 2^55.4 (at most ten parts below 2^52 each), those that `narrow` takes are below 2^58.
 *
 * No branch and no address depends on a value.
 */

#ifndef FEDBUS_X25519_FIELD_H
#define FEDBUS_X25519_FIELD_H

#include "lanes.h"

#if FEDBUS_IFMA

#define LIMBS 5
#define LIMB_MASK ((UINT64_C(1) << 52) - 1)
#define TOP_BITS 47
#define TOP_MASK ((UINT64_C(1) << TOP_BITS) - 1)
/* 2^260 modulo the prime, and 2^255. */
#define FOLD 608
#define FOLD_TOP 19

typedef struct {
    lanes limb[LIMBS];
} Factor;

typedef struct {
    lanes limb[LIMBS];
} Wide;

#define ALL(value) _mm512_set1_epi64((long long)(value))
#define ADD _mm512_add_epi64
#define LOW(sum, a, b) _mm512_madd52lo_epu64(sum, a, b)
#define HIGH(sum, a, b) _mm512_madd52hi_epu64(sum, a, b)

/* Carry, and fold what lies above 2^255. */
INLINE Factor narrow(Wide a) {
    const lanes top = _mm512_srli_epi64(a.limb[4], TOP_BITS);
    Factor r;
    r.limb[0] = LOW(a.limb[0], top, ALL(FOLD_TOP));
    r.limb[1] = ADD(a.limb[1], _mm512_srli_epi64(r.limb[0], 52));
    r.limb[2] = ADD(a.limb[2], _mm512_srli_epi64(r.limb[1], 52));
    r.limb[3] = ADD(a.limb[3], _mm512_srli_epi64(r.limb[2], 52));
    r.limb[4] = ADD(_mm512_and_si512(a.limb[4], ALL(TOP_MASK)), _mm512_srli_epi64(r.limb[3], 52));
    return r;
}

/* The same value with no bit to be ignored. */
INLINE Wide widen(Factor a) {
    Wide r;
    for (int i = 0; i < LIMBS - 1; i++) r.limb[i] = _mm512_and_si512(a.limb[i], ALL(LIMB_MASK));
    r.limb[4] = a.limb[4];
    return r;
}

INLINE Wide add(Wide a, Wide b) {
    for (int i = 0; i < LIMBS; i++) a.limb[i] = ADD(a.limb[i], b.limb[i]);
    return a;
}

/* a - b plus a multiple of the prime, whose limbs are each above any of a product's and below 2^56 + 2^52. */
INLINE Wide subtract(Wide a, Wide b) {
    static const uint64_t multiple[LIMBS] = {
        0x10fffffffffd9ed, 0x10fffffffffffef, 0x10fffffffffffef, 0x10fffffffffffef, 0x1007fffffffffef};
    for (int i = 0; i < LIMBS; i++) a.limb[i] = _mm512_sub_epi64(ADD(a.limb[i], ALL(multiple[i])), b.limb[i]);
    return a;
}

/* Ten limbs to five. The instruction ignores what a limb has above 52 bits; that goes one limb further up. */
INLINE Wide fold(const lanes z[2 * LIMBS]) {
    const lanes factor = ALL(FOLD);
    Wide r;
    for (int i = 0; i < LIMBS; i++) r.limb[i] = LOW(z[i], z[i + LIMBS], factor);
    /* z[9] is below 2^43, so that it has no high half here. */
    for (int i = 0; i < LIMBS - 1; i++) {
        r.limb[i + 1] = HIGH(r.limb[i + 1], z[i + LIMBS], factor);
        r.limb[i + 1] = LOW(r.limb[i + 1], _mm512_srli_epi64(z[i + LIMBS], 52), factor);
    }
    return r;
}

INLINE Wide multiply(Factor a, Factor b) {
    lanes z[2 * LIMBS];
    for (int i = 0; i < 2 * LIMBS; i++) z[i] = _mm512_setzero_si512();
    for (int i = 0; i < LIMBS; i++)
        for (int j = 0; j < LIMBS; j++) {
            z[i + j] = LOW(z[i + j], a.limb[i], b.limb[j]);
            z[i + j + 1] = HIGH(z[i + j + 1], a.limb[i], b.limb[j]);
        }
    return fold(z);
}

INLINE Wide square(Factor a) {
    lanes z[2 * LIMBS];
    for (int i = 0; i < 2 * LIMBS; i++) z[i] = _mm512_setzero_si512();
    for (int i = 0; i < LIMBS; i++)
        for (int j = i + 1; j < LIMBS; j++) {
            z[i + j] = LOW(z[i + j], a.limb[i], a.limb[j]);
            z[i + j + 1] = HIGH(z[i + j + 1], a.limb[i], a.limb[j]);
        }
    for (int i = 1; i < 2 * LIMBS - 1; i++) z[i] = ADD(z[i], z[i]);
    for (int i = 0; i < LIMBS; i++) {
        z[2 * i] = LOW(z[2 * i], a.limb[i], a.limb[i]);
        z[2 * i + 1] = HIGH(z[2 * i + 1], a.limb[i], a.limb[i]);
    }
    return fold(z);
}

/* sum + a * small, small below 2^20. */
INLINE Wide multiply_small(Wide sum, Factor a, uint64_t small) {
    const lanes factor = ALL(small);
    for (int i = 0; i < LIMBS; i++) sum.limb[i] = LOW(sum.limb[i], a.limb[i], factor);
    for (int i = 0; i < LIMBS - 1; i++) sum.limb[i + 1] = HIGH(sum.limb[i + 1], a.limb[i], factor);
    sum.limb[0] = LOW(sum.limb[0], HIGH(_mm512_setzero_si512(), a.limb[4], factor), ALL(FOLD));
    return sum;
}

INLINE Factor times(Factor a, Factor b) { return narrow(multiply(a, b)); }

INLINE Factor constant(uint64_t value) {
    Factor r = {{ALL(value)}};
    for (int i = 1; i < LIMBS; i++) r.limb[i] = _mm512_setzero_si512();
    return r;
}

INLINE Factor choose(__mmask8 second, Factor a, Factor b) {
    for (int i = 0; i < LIMBS; i++) a.limb[i] = _mm512_mask_blend_epi64(second, a.limb[i], b.limb[i]);
    return a;
}

/* The one representative below the prime. */
INLINE Wide freeze(Factor a) {
    Wide r = widen(narrow(widen(a)));
    /* Now r is below 2^255 + 2^53: one subtraction of the prime will do, of which bit 255 of r + 19 decides. */
    lanes carry = ALL(FOLD_TOP);
    for (int i = 0; i < LIMBS - 1; i++) carry = _mm512_srli_epi64(ADD(r.limb[i], carry), 52);
    carry = _mm512_srli_epi64(ADD(r.limb[4], carry), TOP_BITS);
    r.limb[0] = LOW(r.limb[0], carry, ALL(FOLD_TOP));
    for (int i = 0; i < LIMBS - 1; i++) {
        r.limb[i + 1] = ADD(r.limb[i + 1], _mm512_srli_epi64(r.limb[i], 52));
        r.limb[i] = _mm512_and_si512(r.limb[i], ALL(LIMB_MASK));
    }
    r.limb[4] = _mm512_and_si512(r.limb[4], ALL(TOP_MASK));
    return r;
}

/* The lanes that are zero. */
INLINE __mmask8 is_zero(Factor a) {
    const Wide r = freeze(a);
    lanes any = r.limb[0];
    for (int i = 1; i < LIMBS; i++) any = _mm512_or_si512(any, r.limb[i]);
    return _mm512_testn_epi64_mask(any, any);
}

/* Little-endian words to limbs; bit 255 is ignored. words[k] holds word k of each lane. */
INLINE Factor load(const lanes words[4]) {
    Factor r;
    r.limb[0] = words[0];
    r.limb[1] = _mm512_or_si512(_mm512_srli_epi64(words[0], 52), _mm512_slli_epi64(words[1], 12));
    r.limb[2] = _mm512_or_si512(_mm512_srli_epi64(words[1], 40), _mm512_slli_epi64(words[2], 24));
    r.limb[3] = _mm512_or_si512(_mm512_srli_epi64(words[2], 28), _mm512_slli_epi64(words[3], 36));
    r.limb[4] = _mm512_and_si512(_mm512_srli_epi64(words[3], 16), ALL(TOP_MASK));
    return r;
}

/* The other way, of the one representative below the prime. */
INLINE void dump(lanes words[4], Factor a) {
    const Wide r = freeze(a);
    words[0] = _mm512_or_si512(r.limb[0], _mm512_slli_epi64(r.limb[1], 52));
    words[1] = _mm512_or_si512(_mm512_srli_epi64(r.limb[1], 12), _mm512_slli_epi64(r.limb[2], 40));
    words[2] = _mm512_or_si512(_mm512_srli_epi64(r.limb[2], 24), _mm512_slli_epi64(r.limb[3], 28));
    words[3] = _mm512_or_si512(_mm512_srli_epi64(r.limb[3], 36), _mm512_slli_epi64(r.limb[4], 16));
}

/* Eight elements of 32 bytes, little-endian; bit 255 is ignored. What is dumped is below the prime. See field.c. */
IFMA Factor field_load(const uint8_t *from);
IFMA void field_dump(uint8_t *to, Factor a);

/* To the power (p - 1) / 2: 1 for a square, 0 for 0, else -1. */
IFMA void field_characters(Factor *a, size_t count);
/* The longest vector that `field_characters` takes. */
#define SIDE 4

/* Divide: numerators[i] / denominators[i], 0 where the denominator is 0. All are overwritten. */
IFMA void field_divide(Factor *numerators, Factor *denominators, size_t count);
/* The most that it takes. */
#define BLOCK 16

#endif
#endif
