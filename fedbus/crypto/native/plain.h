/* Multiplication modulo any number, of plain integers: for a single product, where a way into Montgomery's form and back
 * would take longer than the product.
 *
 * Source: Barrett, "Implementing the Rivest Shamir and Adleman public key encryption algorithm on a standard digital
 * signal processor", CRYPTO 1986; Menezes, van Oorschot, Vanstone, "Handbook of applied cryptography", algorithm 14.42.
 */

#ifndef FEDBUS_PLAIN_H
#define FEDBUS_PLAIN_H

#include "lanes.h"

#if FEDBUS_IFMA

#define MAX_LENGTH (2 * MAX_LIMBS + 2)

/* What is known of a modulus; the arrays belong to the caller. */
typedef struct {
    size_t limbs;             /* of the modulus, whose highest is not 0 */
    size_t length;            /* limbs + 1, rounded up to an even number; at most MAX_LENGTH */
    const uint64_t *modulus;  /* `length` limbs */
    const uint64_t *quotient; /* `length` limbs of floor(2^(2 * 52 * limbs) / modulus) */
} Modulus;

/* z = x * y modulo the modulus, for factors below 2^(52 * limbs); all have `length` limbs. z may be x or y. */
void plain_multiply(const Modulus *modulus, lanes *z, const lanes *x, const lanes *y);

#endif
#endif
