/* What the files of this extension share: one 512-bit vector holds a 64-bit word of eight independent computations. */

#ifndef FEDBUS_X25519_LANES_H
#define FEDBUS_X25519_LANES_H

#include <stddef.h>
#include <stdint.h>

#define LANES 8
#define POINT_BYTES 32
#define SCALAR_BYTES 32
#define SHA512_BLOCK_BYTES 128

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FEDBUS_IFMA 1
#include <immintrin.h>
/* A function for a processor that has the instructions, in a library that runs on any. */
#define IFMA __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx512ifma")))
#define INLINE static inline __attribute__((always_inline)) IFMA
typedef __m512i lanes;

/* A message to hash, in two pieces. */
typedef struct {
    const uint8_t *data[2];
    size_t length[2];
} Message;

/* SHA-512 of eight messages; state[k] holds word k of all eight chaining values. `take` gives all the same block, `finish`
 * each the rest of its own message and the padding; `before` is the number of bytes that the state has taken in already, a multiple of 128. */
IFMA void sha512_start(lanes state[8]);
IFMA void sha512_take(lanes state[8], const uint8_t block[SHA512_BLOCK_BYTES]);
IFMA void sha512_finish(lanes state[8], const Message messages[LANES], size_t before);

/* X25519 (RFC 7748, section 5) of `count` points with one scalar: points in, points out, POINT_BYTES each. */
IFMA void x25519_exchange(uint8_t *to, const uint8_t scalar[SCALAR_BYTES], const uint8_t *points, size_t count);

/* A point of the curve for each message: curve25519_XMD:SHA-512_ELL2_NU_ (RFC 9380, section 8.5) before its cofactor is
 * cleared, its u-coordinate only. `tag` is the domain separation tag, of 1 to 255 bytes. */
IFMA void x25519_encode(uint8_t *to, const uint8_t *const *messages, const size_t *lengths, size_t count,
                        const uint8_t *tag, size_t tag_length);
#else
#define FEDBUS_IFMA 0
#endif

#endif
