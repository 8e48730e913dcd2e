#include "arguments.h"

#if FEDBUS_IFMA

int fail(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return 0;
}

int supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512ifma");
}

static int aligned(const Py_buffer *buffer, size_t size) { return (uintptr_t)buffer->buf % size == 0; }

size_t bit_length(const uint64_t *limbs, size_t count) {
    while (count > 1 && !limbs[count - 1]) count--;
    return (count - 1) * LIMB_BITS + 64 - (size_t)__builtin_clzll(limbs[count - 1] | 1);
}

int read_ring(const Py_buffer *buffer, Ring *ring) {
    const size_t words = (size_t)(buffer->len / WORD);
    if (!supported()) return fail("the processor lacks AVX-512 IFMA");
    if (buffer->len % WORD || words % 5 != 1 || !aligned(buffer, WORD)) return fail("the bytes are no ring");
    ring->limbs = words / 5;
    if (ring->limbs % 2 || ring->limbs < MIN_LIMBS || ring->limbs > MAX_LIMBS) return fail("a ring of a wrong size");
    ring->m = buffer->buf;
    ring->inverse = ring->m[ring->limbs];
    ring->one = ring->m + ring->limbs + 1;
    ring->cube = ring->one + 2 * ring->limbs;
    for (size_t at = 0; at < words; at++)
        if (ring->m[at] > LIMB_MASK) return fail("a limb of the ring is too large");
    if ((ring->m[0] * ring->inverse + 1) & LIMB_MASK) return fail("the ring's inverse is wrong");
    if (bit_length(ring->m, ring->limbs) + SLACK_BITS > ring->limbs * LIMB_BITS) return fail("the ring's modulus is too long");
    return 1;
}

int read_modulus(const Py_buffer *buffer, Modulus *modulus) {
    const size_t words = (size_t)(buffer->len / WORD);
    if (!supported()) return fail("the processor lacks AVX-512 IFMA");
    if (buffer->len % WORD || words % 2 != 1 || !aligned(buffer, WORD)) return fail("the bytes are no modulus");
    const uint64_t *word = buffer->buf;
    modulus->limbs = (size_t)word[0];
    modulus->length = words / 2;
    modulus->modulus = word + 1;
    modulus->quotient = modulus->modulus + modulus->length;
    if (modulus->length > MAX_LENGTH || word[0] < 2 || word[0] >= modulus->length ||
        (modulus->limbs + 2) / 2 * 2 != modulus->length)
        return fail("a modulus of a wrong size");
    for (size_t at = 1; at < words; at++)
        if (word[at] > LIMB_MASK) return fail("a limb of the modulus is too large");
    if (bit_length(modulus->modulus, modulus->length) <= (modulus->limbs - 1) * LIMB_BITS)
        return fail("the modulus is too short");
    if (bit_length(modulus->modulus, modulus->length) > modulus->limbs * LIMB_BITS)
        return fail("the modulus is too long");
    return 1;
}

Py_ssize_t count_integers(const Ring *ring, const Py_buffer *buffer, Py_ssize_t width) {
    /* Below 2^(bits of m - 1) * R, which is below m * R. */
    if (width <= 0 || width % 2 || (size_t)width * 8 > ring->limbs * LIMB_BITS + bit_length(ring->m, ring->limbs) - 1 || buffer->len % width) {
        fail("integers of a wrong width");
        return -1;
    }
    return buffer->len / width;
}

Py_ssize_t count_numbers(const Ring *ring, const Py_buffer *buffer) {
    const Py_ssize_t size = 2 * (Py_ssize_t)ring->limbs * WORD;
    if (buffer->len % size || !aligned(buffer, WORD)) {
        fail("the bytes are no numbers of the ring");
        return -1;
    }
    return buffer->len / size;
}

int check_indices(const Py_buffer *indices, Py_ssize_t entries) {
    const int32_t *index = indices->buf;
    if (indices->len % 4 || !aligned(indices, 4)) return fail("indices are of 32 bits");
    for (Py_ssize_t at = 0; at < indices->len / 4; at++)
        if (index[at] < -1 || index[at] >= entries) return fail("an index is outside the table");
    return 1;
}

int check_starts(const Py_buffer *starts, Py_ssize_t indices) {
    const int64_t *start = starts->buf;
    const Py_ssize_t count = starts->len / 8;
    if (starts->len % 8 || !count || !aligned(starts, 8)) return fail("starts are of 64 bits, one more than products");
    for (Py_ssize_t at = 0; at < count; at++)
        if (start[at] < (at ? start[at - 1] : 0) || start[at] > indices) return fail("starts must ascend");
    return 1;
}

#endif
