/* Ids to points of Curve25519, eight at a time: RFC 9380's curve25519_XMD:SHA-512_ELL2_NU_ without its last step.
 *
 * Only the u-coordinate is computed. Elligator 2 gives points of the curve, never of its twist, so that no coordinate,
 * blinded or not, has a bit of that kind which would survive blinding. The cofactor is cleared by every clamped scalar.
 */

#include <string.h>

#include "field.h"

#if FEDBUS_IFMA

#define COEFFICIENT 486662
#define DIGEST_BYTES 64
/* L of hash_to_field (section 5.2): the bytes that are reduced modulo the prime. */
#define EXPANDED_BYTES 48
#define TAG_BYTES 255

/* hash_to_field of eight messages: section 5.2 with expand_message_xmd, section 5.3.1. */
IFMA static Factor hash_to_field(const Message messages[LANES], const lanes padded[8], const uint8_t *tag, size_t length) {
    uint8_t digests[LANES][DIGEST_BYTES], second[1 + TAG_BYTES + 1];
    lanes state[8];
    Message again[LANES];
    uint64_t words[8][LANES];

    memcpy(state, padded, sizeof state);
    sha512_finish(state, messages, 128);
    for (int k = 0; k < 8; k++) _mm512_storeu_si512(words[k], state[k]);
    second[0] = 1;
    memcpy(second + 1, tag, length);
    second[1 + length] = (uint8_t)length;
    for (int lane = 0; lane < LANES; lane++) {
        for (int k = 0; k < 8; k++) {
            const uint64_t word = __builtin_bswap64(words[k][lane]);
            memcpy(digests[lane] + 8 * k, &word, 8);
        }
        again[lane] = (Message){{digests[lane], second}, {DIGEST_BYTES, length + 2}};
    }
    sha512_start(state);
    sha512_finish(state, again, 0);

    /* 48 bytes, the first the highest: six words, word 0 of the state on top. 2^256 is 38 modulo the prime. */
    for (int k = 0; k < 8; k++) _mm512_storeu_si512(words[k], state[k]);
    uint64_t reduced[4][LANES];
    for (int lane = 0; lane < LANES; lane++) {
        unsigned __int128 sum = 0;
        uint64_t low[4];
        for (int k = 0; k < 4; k++) {
            sum += words[5 - k][lane];
            if (k < 2) sum += (unsigned __int128)words[1 - k][lane] * 38;
            low[k] = (uint64_t)sum;
            sum >>= 64;
        }
        /* What is above 2^255, twice: `load` ignores it. After the first time word 0 is small where anything is left. */
        sum = (low[3] >> 63) * 19 + (uint64_t)sum * 38;
        low[3] &= UINT64_MAX >> 1;
        for (int k = 0; k < 4; k++) {
            sum += low[k];
            reduced[k][lane] = (uint64_t)sum;
            sum >>= 64;
        }
        reduced[0][lane] += (reduced[3][lane] >> 63) * 19;
        reduced[3][lane] &= UINT64_MAX >> 1;
    }
    lanes vectors[4];
    for (int k = 0; k < 4; k++) vectors[k] = _mm512_loadu_si512(reduced[k]);
    return load(vectors);
}

/* map_to_curve_elligator2_curve25519, appendix G.2.1, of `count` vectors, at most BLOCK: only whether a number is a square
 * is asked, not for the root. With t = 2 u^2, the point is -J / (1 + t) where that is on the curve, else -J t / (1 + t). */
IFMA static void map_to_curve(Factor *u, size_t count) {
    Factor denominators[BLOCK], candidates[BLOCK];
    for (size_t i = 0; i < count; i++) {
        const Wide t = square(u[i]), twice = add(t, t);
        u[i] = narrow(twice);
        denominators[i] = narrow(add(twice, widen(constant(1))));
        /* y^2 times the denominator's fourth power, less -1, which is a square: xd J (xd^2 - J^2 t). */
        const Factor square_part = narrow(subtract(
            square(denominators[i]), multiply(u[i], constant((uint64_t)COEFFICIENT * COEFFICIENT))));
        candidates[i] = times(times(denominators[i], constant(COEFFICIENT)), square_part);
    }
    for (size_t i = 0; i < count; i += SIDE)
        field_characters(candidates + i, count - i < SIDE ? count - i : SIDE);
    const Factor minus_j = narrow(subtract(widen(constant(0)), widen(constant(COEFFICIENT))));
    for (size_t i = 0; i < count; i++) {
        /* The character is 1 or -1: -J and J^2 - 4 make 0 impossible. */
        const __mmask8 on_curve = is_zero(narrow(subtract(widen(candidates[i]), widen(constant(1)))));
        u[i] = choose(on_curve, times(u[i], minus_j), minus_j);
    }
    field_divide(u, denominators, count);
}

IFMA void x25519_encode(uint8_t *to, const uint8_t *const *messages, const size_t *lengths, size_t count,
                        const uint8_t *tag, size_t tag_length) {
    /* What expand_message_xmd puts behind a message: the length asked for, a zero, the tag with its length. */
    uint8_t suffix[3 + TAG_BYTES + 1] = {0, EXPANDED_BYTES, 0}, ends[LANES * POINT_BYTES];
    const uint8_t padding[SHA512_BLOCK_BYTES] = {0};
    const size_t vectors = (count + LANES - 1) / LANES;
    lanes padded[8];
    memcpy(suffix + 3, tag, tag_length);
    suffix[3 + tag_length] = (uint8_t)tag_length;
    sha512_start(padded);
    sha512_take(padded, padding);
    for (size_t first = 0; first < vectors; first += BLOCK) {
        const size_t number = vectors - first < BLOCK ? vectors - first : BLOCK;
        Factor u[BLOCK];
        for (size_t i = 0; i < number; i++) {
            Message pieces[LANES];
            for (size_t lane = 0; lane < LANES; lane++) {
                const size_t at = (first + i) * LANES + lane;
                /* Lanes without a message compute with an empty one. */
                pieces[lane] = (Message){{at < count ? messages[at] : suffix, suffix},
                                         {at < count ? lengths[at] : 0, 3 + tag_length + 1}};
            }
            u[i] = hash_to_field(pieces, padded, tag, tag_length);
        }
        map_to_curve(u, number);
        for (size_t i = 0; i < number; i++) {
            const size_t at = (first + i) * LANES, left = count - at;
            field_dump(ends, u[i]);
            memcpy(to + at * POINT_BYTES, ends, (left < LANES ? left : LANES) * POINT_BYTES);
        }
    }
}

#endif
