/* SHA-512 (FIPS 180-4, section 6.4) of eight messages at a time, of any lengths. */

#include <string.h>

#include "lanes.h"

#if FEDBUS_IFMA

#define ROUNDS 80
#define WORDS 16
#define LENGTH_BYTES 16

static const uint64_t ROUND_CONSTANTS[ROUNDS] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538,
    0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe,
    0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
    0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5, 0x983e5152ee66dfab,
    0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
    0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed,
    0x53380d139d95b3df, 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
    0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8, 0x19a4c116b8d2d0c8, 0x1e376c085141ab53,
    0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373,
    0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c,
    0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6,
    0x113f9804bef90dae, 0x1b710b35131c471b, 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
    0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

static const uint64_t INITIAL[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1, 0x510e527fade682d1,
    0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

#define ADD _mm512_add_epi64
#define ROTATE(a, bits) _mm512_ror_epi64(a, bits)
/* Truth tables of three bits: parity, majority, choice. */
#define PARITY(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)
#define MAJORITY(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xe8)
#define CHOICE(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xca)

/* One block of each lane. Lanes outside `active` keep their state. */
IFMA static void compress(lanes state[8], lanes w[WORDS], __mmask8 active) {
    lanes s[8];
    for (int k = 0; k < 8; k++) s[k] = state[k];
    for (int t = 0; t < ROUNDS; t++) {
        if (t >= WORDS) {
            const lanes early = w[(t + 1) % WORDS], late = w[(t + 14) % WORDS];
            const lanes first = PARITY(ROTATE(early, 1), ROTATE(early, 8), _mm512_srli_epi64(early, 7));
            const lanes second = PARITY(ROTATE(late, 19), ROTATE(late, 61), _mm512_srli_epi64(late, 6));
            w[t % WORDS] = ADD(ADD(w[t % WORDS], first), ADD(w[(t + 9) % WORDS], second));
        }
        const lanes sum1 = PARITY(ROTATE(s[4], 14), ROTATE(s[4], 18), ROTATE(s[4], 41));
        const lanes sum0 = PARITY(ROTATE(s[0], 28), ROTATE(s[0], 34), ROTATE(s[0], 39));
        const lanes input = ADD(w[t % WORDS], _mm512_set1_epi64((long long)ROUND_CONSTANTS[t]));
        const lanes first = ADD(ADD(s[7], sum1), ADD(CHOICE(s[4], s[5], s[6]), input));
        const lanes second = ADD(sum0, MAJORITY(s[0], s[1], s[2]));
        for (int k = 7; k > 0; k--) s[k] = s[k - 1];
        s[4] = ADD(s[4], first);
        s[0] = ADD(first, second);
    }
    for (int k = 0; k < 8; k++) state[k] = _mm512_mask_add_epi64(state[k], active, state[k], s[k]);
}

/* Word t of each lane's block to w[t]; SHA-512 reads words with the high byte first. */
IFMA static void load_blocks(lanes w[WORDS], const uint8_t blocks[LANES][SHA512_BLOCK_BYTES]) {
    uint64_t words[WORDS][LANES];
    for (int lane = 0; lane < LANES; lane++)
        for (int t = 0; t < WORDS; t++) {
            uint64_t word;
            memcpy(&word, blocks[lane] + 8 * t, 8);
            words[t][lane] = __builtin_bswap64(word);
        }
    for (int t = 0; t < WORDS; t++) w[t] = _mm512_loadu_si512(words[t]);
}

IFMA void sha512_start(lanes state[8]) {
    for (int k = 0; k < 8; k++) state[k] = _mm512_set1_epi64((long long)INITIAL[k]);
}

IFMA void sha512_take(lanes state[8], const uint8_t block[SHA512_BLOCK_BYTES]) {
    uint8_t blocks[LANES][SHA512_BLOCK_BYTES];
    lanes w[WORDS];
    for (int lane = 0; lane < LANES; lane++) memcpy(blocks[lane], block, SHA512_BLOCK_BYTES);
    load_blocks(w, blocks);
    compress(state, w, 0xff);
}

/* The bytes from `start` on, at most a block, of a message with its padding: 0x80, zeros, the length in bits. */
static void fill(uint8_t block[SHA512_BLOCK_BYTES], const Message *message, size_t start, size_t blocks, size_t before) {
    const size_t end = start + SHA512_BLOCK_BYTES;
    size_t at = 0;
    memset(block, 0, SHA512_BLOCK_BYTES);
    for (int piece = 0; piece < 2; piece++) {
        const size_t next = at + message->length[piece];
        const size_t from = at > start ? at : start, to = next < end ? next : end;
        if (from < to) memcpy(block + from - start, message->data[piece] + from - at, to - from);
        at = next;
    }
    if (start <= at && at < end) block[at - start] = 0x80;
    if (end == blocks * SHA512_BLOCK_BYTES) {
        const uint64_t bits = __builtin_bswap64((uint64_t)(before + at) * 8);
        memcpy(block + SHA512_BLOCK_BYTES - sizeof bits, &bits, sizeof bits);
    }
}

IFMA void sha512_finish(lanes state[8], const Message messages[LANES], size_t before) {
    size_t blocks[LANES], most = 0;
    for (int lane = 0; lane < LANES; lane++) {
        const size_t length = messages[lane].length[0] + messages[lane].length[1];
        blocks[lane] = (length + LENGTH_BYTES) / SHA512_BLOCK_BYTES + 1;
        if (blocks[lane] > most) most = blocks[lane];
    }
    for (size_t number = 0; number < most; number++) {
        uint8_t filled[LANES][SHA512_BLOCK_BYTES];
        unsigned active = 0;
        lanes w[WORDS];
        for (int lane = 0; lane < LANES; lane++) {
            if (number >= blocks[lane]) {
                memset(filled[lane], 0, SHA512_BLOCK_BYTES);
                continue;
            }
            fill(filled[lane], &messages[lane], number * SHA512_BLOCK_BYTES, blocks[lane], before);
            active |= 1u << lane;
        }
        load_blocks(w, filled);
        compress(state, w, (__mmask8)active);
    }
}

#endif
