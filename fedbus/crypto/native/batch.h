/* Operations on whole vectors of numbers, eight at a time.
 *
 * A number in memory is a pair in Montgomery's form: 2 * limbs limbs one after the other. Whoever calls has checked that
 * the arrays are as long as they must be and that all indices are inside their table, or -1 for the number 1.
 */

#ifndef FEDBUS_BATCH_H
#define FEDBUS_BATCH_H

#include "kernel.h"
#include "plain.h"

#if FEDBUS_IFMA

/* Numbers of big-endian integers below m * R, `width` bytes each. */
void batch_load(const Ring *ring, uint64_t *numbers, const uint8_t *from, size_t width, size_t count);

/* Integers in [0, m^2) of numbers, each times 1 - m * s where `shifts`, in width / 2 bytes each, are given. */
void batch_dump(const Ring *ring, uint8_t *to, size_t width, const uint64_t *numbers, const uint8_t *shifts,
                size_t count);

/* The products of big-endian integers of at most 52 * limbs bits, reduced. */
void batch_multiply(const Modulus *modulus, uint8_t *to, const uint8_t *left, const uint8_t *right, size_t width,
                    size_t count);

/* Product k is that of the table's entries at indices[starts[k]] to indices[starts[k + 1] - 1]; of none it is 1.
 * Returns 0 when there is no memory. */
int batch_products(const Ring *ring, uint64_t *products, const uint64_t *table, const int64_t *starts,
                   const int32_t *indices, size_t count);

/* powers[k * steps + s] = bases[k]^s for s < steps. */
void batch_powers(const Ring *ring, uint64_t *powers, const uint64_t *bases, size_t steps, size_t count);

/* Result k is the product over s < steps of the table's entry at indices[k * steps + s] to the power of steps - s. */
void batch_weigh(const Ring *ring, uint64_t *results, const uint64_t *table, const int32_t *indices, size_t steps,
                 size_t count);

/* Raise all to one exponent, big-endian, in a time and with memory accesses that depend on its length only. Returns 0
 * when there is no memory. */
int batch_raise(const Ring *ring, uint64_t *results, const uint64_t *numbers, const uint8_t *exponent, size_t length,
                size_t count);

/* Nothing but multiplications, for measuring: `count` times eight. */
void batch_exercise(const Ring *ring, uint64_t *number, size_t count);

#endif
#endif
