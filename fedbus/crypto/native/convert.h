/* Numbers between memory and lanes. */

#ifndef FEDBUS_CONVERT_H
#define FEDBUS_CONVERT_H

#include "kernel.h"

#if FEDBUS_IFMA

/* Bytes of a number of 2 * limbs limbs. */
#define WIDTH(limbs) ((limbs) * 2 * LIMB_BITS / 8)

/* Set lane k of the first `count` vectors to the `count` limbs at from[k]. */
void lanes_gather(lanes *z, const uint64_t *const from[LANES], size_t count);

/* The same for those lanes only that are in the mask. */
void lanes_gather_some(lanes *z, __mmask8 lanes_used, const uint64_t *const from[LANES], size_t count);

/* Store lane k of the first `count` vectors as limbs at to[k], for the first `used` lanes. */
void lanes_scatter(const lanes *x, uint64_t *const to[LANES], size_t used, size_t count);

/* The same limbs in every lane. */
void lanes_spread(lanes *z, const uint64_t *from, size_t count);

/* Read up to eight big-endian numbers, `width` bytes each and one after the other, into `count` limbs: as many as hold
 * them at least. Unused lanes are 0. */
void lanes_read(lanes *z, const uint8_t *from, size_t width, size_t used, size_t count);

/* The reverse. `count` is even, and its limbs are as long as `width` bytes at least. */
void lanes_write(const lanes *x, uint8_t *to, size_t width, size_t used, size_t count);

#endif
#endif
