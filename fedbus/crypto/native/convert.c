#include "convert.h"

#include <string.h>

#if FEDBUS_IFMA

/* Room for the longest number, with some before it for reads of eight bytes that begin ahead of it. */
#define MARGIN 24
#define BUFFER (WIDTH(MAX_LIMBS + 1) + MARGIN)

/* Reverses the bytes of every 64-bit lane. */
INLINE lanes reverse_bytes(lanes x) {
    const lanes order = _mm512_set4_epi32(0x08090a0b, 0x0c0d0e0f, 0x00010203, 0x04050607);
    return _mm512_shuffle_epi8(x, order);
}

/* The eight bytes that are `offset` bytes from each address. */
INLINE lanes gather(const uint64_t *const from[LANES], ptrdiff_t offset) {
#ifdef __SANITIZE_ADDRESS__
    /* The sanitizer does not see what a gather reads. */
    uint64_t words[LANES];
    for (size_t lane = 0; lane < LANES; lane++) memcpy(&words[lane], (const char *)from[lane] + offset, sizeof *words);
    return _mm512_loadu_si512(words);
#else
    const lanes addresses = _mm512_add_epi64(_mm512_loadu_si512((const void *)from), _mm512_set1_epi64(offset));
    return _mm512_i64gather_epi64(addresses, NULL, 1);
#endif
}

IFMA void lanes_gather(lanes *z, const uint64_t *const from[LANES], size_t count) {
    for (size_t at = 0; at < count; at++) z[at] = gather(from, (ptrdiff_t)(at * sizeof(uint64_t)));
}

IFMA void lanes_gather_some(lanes *z, __mmask8 lanes_used, const uint64_t *const from[LANES], size_t count) {
#ifdef __SANITIZE_ADDRESS__
    for (size_t at = 0; at < count; at++)
        z[at] = _mm512_mask_mov_epi64(z[at], lanes_used, gather(from, (ptrdiff_t)(at * sizeof(uint64_t))));
#else
    const lanes addresses = _mm512_loadu_si512((const void *)from);
    for (size_t at = 0; at < count; at++) {
        const lanes limb = _mm512_add_epi64(addresses, _mm512_set1_epi64((long long)(at * sizeof(uint64_t))));
        z[at] = _mm512_mask_i64gather_epi64(z[at], lanes_used, limb, NULL, 1);
    }
#endif
}

IFMA void lanes_scatter(const lanes *x, uint64_t *const to[LANES], size_t used, size_t count) {
    const uint64_t *limbs = (const uint64_t *)x;
    for (size_t lane = 0; lane < used; lane++)
        for (size_t at = 0; at < count; at++) to[lane][at] = limbs[at * LANES + lane];
}

IFMA void lanes_spread(lanes *z, const uint64_t *from, size_t count) {
    for (size_t at = 0; at < count; at++) z[at] = _mm512_set1_epi64((long long)from[at]);
}

IFMA void lanes_read(lanes *z, const uint8_t *from, size_t width, size_t used, size_t count) {
    uint8_t buffer[LANES][BUFFER];
    const uint64_t *ends[LANES];
    const lanes mask = _mm512_set1_epi64(LIMB_MASK);
    for (size_t lane = 0; lane < LANES; lane++) {
        memset(buffer[lane], 0, BUFFER - width);
        if (lane < used) memcpy(buffer[lane] + BUFFER - width, from + lane * width, width);
        else memset(buffer[lane] + BUFFER - width, 0, width);
        ends[lane] = (const uint64_t *)(buffer[lane] + BUFFER - sizeof(uint64_t));
    }
    for (size_t at = 0; at < count; at++) {
        /* A limb begins at a whole or a half byte, so eight bytes hold it. */
        const size_t bit = at * LIMB_BITS;
        const lanes bytes = reverse_bytes(gather(ends, -(ptrdiff_t)(bit / 8)));
        z[at] = _mm512_and_si512(_mm512_srl_epi64(bytes, _mm_cvtsi64_si128((long long)(bit % 8))), mask);
    }
}

IFMA void lanes_write(const lanes *x, uint8_t *to, size_t width, size_t used, size_t count) {
    uint8_t buffer[LANES][BUFFER];
    uint64_t words[2][LANES];
    /* Two limbs are 13 bytes. They are written from the end on as two times eight, and the next two write over the
     * three that are too many. */
    for (size_t at = 0; at < count; at += 2) {
        const lanes lower = _mm512_or_si512(x[at], _mm512_slli_epi64(x[at + 1], LIMB_BITS));
        const lanes upper = _mm512_srli_epi64(x[at + 1], 64 - LIMB_BITS);
        _mm512_storeu_si512(words[0], reverse_bytes(lower));
        _mm512_storeu_si512(words[1], reverse_bytes(upper));
        for (size_t lane = 0; lane < used; lane++) {
            uint8_t *end = buffer[lane] + BUFFER - at / 2 * 13;
            memcpy(end - 8, &words[0][lane], 8);
            memcpy(end - 16, &words[1][lane], 8);
        }
    }
    for (size_t lane = 0; lane < used; lane++) memcpy(to + lane * width, buffer[lane] + BUFFER - width, width);
}

#endif
