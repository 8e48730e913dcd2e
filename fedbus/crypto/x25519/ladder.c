/* Scalar multiplication on Curve25519 by u-coordinates: Montgomery's ladder, eight points at a time, one scalar.
 *
 * Source: RFC 7748, section 5. The ladder keeps sums and differences in place of coordinates,
 *
 *     a = x2 + z2,  b = x2 - z2,  c = x3 + z3,  d = x3 - z3,
 *
 * which a step needs anyway: products are added before they are carried, and 11 carries do for 9 products.
 */

#include <string.h>

#include "field.h"

#if FEDBUS_IFMA

#define A24 121665
#define SCALAR_BITS 255

typedef struct {
    Factor a, b, c, d;
} Pair;

INLINE void swap(__mmask8 now, Factor *left, Factor *right) {
    const Factor first = *left;
    *left = choose(now, first, *right);
    *right = choose(now, *right, first);
}

/* In this order the longest chain of results that wait for each other begins first. */
INLINE void step(Pair *p, Factor u) {
    const Wide da = multiply(p->d, p->a), cb = multiply(p->c, p->b);
    const Wide aa = square(p->a), bb = square(p->b);
    const Factor sum = narrow(add(da, cb)), gap = narrow(subtract(da, cb));
    const Factor difference = narrow(subtract(aa, bb));
    const Wide gap_squared = square(gap), x3 = square(sum);
    const Factor weighted = narrow(multiply_small(aa, difference, A24));
    const Wide x2 = multiply(narrow(aa), narrow(bb));
    const Wide z3 = multiply(narrow(gap_squared), u);
    const Wide z2 = multiply(difference, weighted);
    p->c = narrow(add(x3, z3));
    p->d = narrow(subtract(x3, z3));
    p->a = narrow(add(x2, z2));
    p->b = narrow(subtract(x2, z2));
}

/* x2 and z2 of the product, times two. */
IFMA static void ladder(Factor *x, Factor *z, const uint8_t scalar[SCALAR_BYTES], Factor u) {
    const Factor one = constant(1);
    Pair p = {one, one, narrow(add(widen(u), widen(one))), narrow(subtract(widen(u), widen(one)))};
    unsigned swapped = 0;
    for (int at = SCALAR_BITS - 1; at >= 0; at--) {
        const unsigned bit = scalar[at >> 3] >> (at & 7) & 1;
        /* All lanes or none; bits are secret, so they become a mask and no branch. */
        const __mmask8 now = (__mmask8)(0 - (bit ^ swapped));
        swap(now, &p.a, &p.c);
        swap(now, &p.b, &p.d);
        swapped = bit;
        step(&p, u);
    }
    /* The last bit of a clamped scalar is 0: nothing is left to be swapped. */
    *x = narrow(add(widen(p.a), widen(p.b)));
    *z = narrow(subtract(widen(p.a), widen(p.b)));
}

/* What lies on the stack of a finished computation is of no use to anybody but an attacker. */
static void forget(void *secret, size_t size) {
    memset(secret, 0, size);
    __asm__ volatile("" : : "r"(secret) : "memory");
}

IFMA void x25519_exchange(uint8_t *to, const uint8_t scalar[SCALAR_BYTES], const uint8_t *points, size_t count) {
    const size_t vectors = (count + LANES - 1) / LANES;
    uint8_t clamped[SCALAR_BYTES], ends[LANES * POINT_BYTES];
    memcpy(clamped, scalar, sizeof clamped);
    clamped[0] &= 248;
    clamped[31] = (clamped[31] & 127) | 64;
    for (size_t first = 0; first < vectors; first += BLOCK) {
        const size_t number = vectors - first < BLOCK ? vectors - first : BLOCK;
        Factor x[BLOCK], z[BLOCK];
        for (size_t i = 0; i < number; i++) {
            const uint8_t *from = points + (first + i) * sizeof ends;
            const size_t left = count - (first + i) * LANES;
            if (left < LANES) {
                /* Lanes without a point compute with zero. */
                memset(ends, 0, sizeof ends);
                memcpy(ends, from, left * POINT_BYTES);
                from = ends;
            }
            ladder(&x[i], &z[i], clamped, field_load(from));
        }
        field_divide(x, z, number);
        for (size_t i = 0; i < number; i++) {
            const size_t at = (first + i) * LANES, left = count - at;
            field_dump(ends, x[i]);
            memcpy(to + at * POINT_BYTES, ends, (left < LANES ? left : LANES) * POINT_BYTES);
        }
    }
    forget(clamped, sizeof clamped);
}

#endif
