/* Multiplication modulo the square of an odd number m, eight at a time.
 *
 * A residue modulo m^2 is kept as a pair (low, high) with the value low - high * m. With R = 2^(52 * limbs), Montgomery's
 * reduction finds q and r with a * b = r * R - q * m, so that
 *
 *     (a0 - a1 m) (b0 - b1 m) / R  =  r - m (a0 b1 + a1 b0 + q) / R   modulo m^2.
 *
 * The product is the pair of r and of the second bracket, reduced modulo m: three products and two reductions of half
 * the length, 5/8 of what a multiplication modulo a number as long as m^2 takes; a square takes 4/8.
 *
 * Source of the reduction: Montgomery, "Modular multiplication without trial division", Math. Comp. 44 (1985); that it
 * needs no final subtraction where R is large enough: Walter, "Montgomery exponentiation needs no final subtractions",
 * Electronics Letters 35 (1999).
 */

#ifndef FEDBUS_KERNEL_H
#define FEDBUS_KERNEL_H

#include "lanes.h"

/* What is known of a modulus; the arrays belong to the caller. */
typedef struct {
    size_t limbs;           /* of m; even, MIN_LIMBS..MAX_LIMBS, with m * 2^SLACK_BITS <= R */
    const uint64_t *m;      /* limbs of m */
    const uint64_t *one;    /* the pair of R: 1 in Montgomery's form */
    const uint64_t *cube;   /* the pair of R^3: brings what `lanes_fold` made into Montgomery's form */
    uint64_t inverse;       /* -1/m modulo 2^52 */
} Ring;

#if FEDBUS_IFMA

/* A pair as vectors: low in the first `limbs`, high in the rest. Every limb is below 2^52. Both halves of a product are
 * below m + m / 2^13, for factors whose halves are below 2m. */
typedef lanes Pair[2 * MAX_LIMBS];

/* z = x * y / R. z may be x or y. */
void lanes_multiply(const Ring *ring, lanes *z, const lanes *x, const lanes *y);

/* z = x * x / R. z may be x. */
void lanes_square(const Ring *ring, lanes *z, const lanes *x);

/* z = value / R, for a value below m * R in 2 * limbs limbs, each below 2^52. */
void lanes_fold(const Ring *ring, lanes *z, const lanes *value);

/* value = the number in [0, m^2) that the pair x stands for, in 2 * limbs limbs. */
void lanes_unfold(const Ring *ring, lanes *value, const lanes *x);

#endif
#endif
