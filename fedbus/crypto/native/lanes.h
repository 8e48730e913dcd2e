/* Eight big numbers at a time: one 512-bit vector holds the same limb of eight numbers, one in each lane. */

#ifndef FEDBUS_LANES_H
#define FEDBUS_LANES_H

#include <stddef.h>
#include <stdint.h>

/* The vector unit multiplies 52 bits by 52 bits, so numbers are written in limbs of 52 bits. */
#define LIMB_BITS 52
#define LIMB_MASK ((UINT64_C(1) << LIMB_BITS) - 1)
#define LANES 8
/* Rows of a product that are worked on together; their factors and the running columns fill the registers. */
#define ROWS 8
/* 8192 bits and SLACK_BITS, rounded up to an even number of limbs. */
#define MAX_LIMBS 158
#define MIN_LIMBS 4
/* The bits that 2^(52 * limbs) has above the modulus: they let sums grow with no conditional subtraction. */
#define SLACK_BITS 16

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FEDBUS_IFMA 1
#include <immintrin.h>
/* A function for a processor that has the instructions, in a library that runs on any. */
#define IFMA __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx512ifma")))
#define INLINE static inline __attribute__((always_inline)) IFMA
typedef __m512i lanes;
#else
#define FEDBUS_IFMA 0
#endif

#endif
