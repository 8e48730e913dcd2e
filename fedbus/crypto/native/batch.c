#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "convert.h"

#if FEDBUS_IFMA

#define CACHE_LINE 64
/* Bits of the exponent that are used up by one multiplication in `batch_raise`. */
#define WINDOW 4

/* The lanes that a group of eight uses, when `count` are left. */
static size_t lanes_of(size_t count) { return count < LANES ? count : LANES; }

/* Addresses of eight numbers, `step` numbers from each other; lanes beyond those used repeat the first. */
static void addresses(const uint64_t *from[LANES], const uint64_t *first, size_t step, size_t used, size_t size) {
    for (size_t lane = 0; lane < LANES; lane++) from[lane] = first + (lane < used ? lane : 0) * step * size;
}

/* Store the first `used` lanes, `step` numbers from each other. */
static void store(const lanes *x, uint64_t *first, size_t step, size_t used, size_t size) {
    uint64_t *to[LANES];
    for (size_t lane = 0; lane < used; lane++) to[lane] = first + lane * step * size;
    lanes_scatter(x, to, used, size);
}

/* A table's entry; -1 is the number 1. */
static inline const uint64_t *entry(const Ring *ring, const uint64_t *table, int32_t index) {
    return index < 0 ? ring->one : table + (size_t)index * 2 * ring->limbs;
}

static void prefetch(const uint64_t *number, size_t size) {
    for (size_t at = 0; at < size; at += CACHE_LINE / sizeof(uint64_t)) __builtin_prefetch(number + at, 0, 2);
}

IFMA void batch_load(const Ring *ring, uint64_t *numbers, const uint8_t *from, size_t width, size_t count) {
    const size_t size = 2 * ring->limbs;
    Pair cube, x;
    lanes_spread(cube, ring->cube, size);
    for (size_t at = 0; at < count; at += LANES) {
        const size_t used = lanes_of(count - at);
        lanes_read(x, from + at * width, width, used, size);
        lanes_fold(ring, x, x);
        lanes_multiply(ring, x, x, cube);
        store(x, numbers + at * size, 1, used, size);
    }
}

IFMA void batch_dump(const Ring *ring, uint8_t *to, size_t width, const uint64_t *numbers, const uint8_t *shifts,
                     size_t count) {
    const size_t size = 2 * ring->limbs;
    const uint64_t *from[LANES];
    Pair factor, x;
    /* The factor is not in Montgomery's form, and so neither is the product. */
    memset(factor, 0, size * sizeof(lanes));
    factor[0] = _mm512_set1_epi64(1);
    for (size_t at = 0; at < count; at += LANES) {
        const size_t used = lanes_of(count - at);
        addresses(from, numbers + at * size, 1, used, size);
        lanes_gather(x, from, size);
        if (shifts) lanes_read(factor + ring->limbs, shifts + at * (width / 2), width / 2, used, ring->limbs);
        lanes_multiply(ring, x, x, factor);
        lanes_unfold(ring, x, x);
        lanes_write(x, to + at * width, width, used, size);
    }
}

IFMA void batch_multiply(const Modulus *modulus, uint8_t *to, const uint8_t *left, const uint8_t *right, size_t width,
                         size_t count) {
    lanes x[MAX_LENGTH], y[MAX_LENGTH];
    for (size_t at = 0; at < count; at += LANES) {
        const size_t used = lanes_of(count - at);
        lanes_read(x, left + at * width, width, used, modulus->length);
        lanes_read(y, right + at * width, width, used, modulus->length);
        plain_multiply(modulus, x, x, y);
        lanes_write(x, to + at * width, width, used, modulus->length);
    }
}

/* The products from the longest to the shortest: lanes that begin together then end together, and at the end none has
 * much left to do alone. Lengths above the last class are not told apart. */
#define CLASSES 1024

static void order_by_length(int64_t *order, const int64_t *starts, size_t count) {
    size_t first[CLASSES + 1] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t at = 0; at < count; at++) {
            const int64_t length = starts[at + 1] - starts[at];
            const size_t class = CLASSES - 1 - (size_t)(length < CLASSES ? length : CLASSES - 1);
            if (pass) order[first[class]++] = (int64_t)at;
            else first[class + 1]++;
        }
        if (!pass)
            for (size_t class = 0; class < CLASSES; class++) first[class + 1] += first[class];
    }
}

/* What is left of the product that a lane is at. */
typedef struct {
    uint64_t *product; /* NULL when there is none */
    const int32_t *next, *end;
} Course;

IFMA int batch_products(const Ring *ring, uint64_t *products, const uint64_t *table, const int64_t *starts,
                        const int32_t *indices, size_t count) {
    const size_t size = 2 * ring->limbs;
    const uint64_t *from[LANES], *limbs;
    Course course[LANES] = {{0}};
    Pair running, factor;
    size_t begun = 0, active = 0;
    int64_t *order = malloc((count + 1) * sizeof *order);
    if (!order) return 0;
    order_by_length(order, starts, count);

    lanes_spread(running, ring->one, size);
    limbs = (const uint64_t *)running;
    do {
        __mmask8 beginning = 0;
        for (size_t lane = 0; lane < LANES; lane++) {
            Course *own = &course[lane];
            from[lane] = ring->one;
            if (own->product && own->next == own->end) {
                for (size_t at = 0; at < size; at++) own->product[at] = limbs[at * LANES + lane];
                own->product = NULL;
                active--;
            }
            if (!own->product && begun < count) {
                const int64_t number = order[begun++];
                *own = (Course){products + (size_t)number * size, indices + starts[number], indices + starts[number + 1]};
                if (own->next < own->end) from[lane] = entry(ring, table, *own->next++);
                beginning |= (__mmask8)(1U << lane);
                active++;
            }
        }
        if (beginning) lanes_gather_some(running, beginning, from, size);
        for (size_t lane = 0; lane < LANES; lane++) {
            const Course *own = &course[lane];
            from[lane] = own->product && own->next < own->end ? entry(ring, table, *own->next) : ring->one;
        }
        lanes_gather(factor, from, size);
        for (size_t lane = 0; lane < LANES; lane++) {
            Course *own = &course[lane];
            if (!own->product || own->next == own->end) continue;
            own->next++;
            if (own->next < own->end) prefetch(entry(ring, table, *own->next), size);
            else if (begun + lane < count && starts[order[begun + lane]] < starts[order[begun + lane] + 1])
                prefetch(entry(ring, table, indices[starts[order[begun + lane]]]), size);
        }
        lanes_multiply(ring, running, running, factor);
    } while (active);
    free(order);
    return 1;
}

IFMA void batch_powers(const Ring *ring, uint64_t *powers, const uint64_t *bases, size_t steps, size_t count) {
    const size_t size = 2 * ring->limbs;
    const uint64_t *from[LANES];
    Pair base, x;
    for (size_t at = 0; at < count; at += LANES) {
        const size_t used = lanes_of(count - at);
        addresses(from, bases + at * size, 1, used, size);
        lanes_gather(base, from, size);
        lanes_spread(x, ring->one, size);
        for (size_t step = 0; step < steps; step++) {
            store(x, powers + (at * steps + step) * size, steps, used, size);
            if (step + 1 < steps) lanes_multiply(ring, x, x, base);
        }
    }
}

IFMA void batch_weigh(const Ring *ring, uint64_t *results, const uint64_t *table, const int32_t *indices, size_t steps,
                      size_t count) {
    const size_t size = 2 * ring->limbs;
    const uint64_t *from[LANES];
    Pair factor, running, x;
    for (size_t at = 0; at < count; at += LANES) {
        const size_t used = lanes_of(count - at);
        lanes_spread(running, ring->one, size);
        lanes_spread(x, ring->one, size);
        for (size_t step = 0; step < steps; step++) {
            for (size_t lane = 0; lane < LANES; lane++)
                from[lane] = entry(ring, table, indices[(at + (lane < used ? lane : 0)) * steps + step]);
            lanes_gather(factor, from, size);
            lanes_multiply(ring, running, running, factor);
            lanes_multiply(ring, x, x, running);
        }
        store(x, results + at * size, 1, used, size);
    }
}

/* z = the table's entry of that number. Reads them all, so that the memory touched tells nothing. */
IFMA static void choose(lanes *z, const lanes *table, unsigned entry, size_t size) {
    lanes chosen[1 << WINDOW];
    for (unsigned candidate = 0; candidate < 1U << WINDOW; candidate++)
        /* All ones where the two are equal, which is where the difference of 1 underflows, without a branch. */
        chosen[candidate] = _mm512_set1_epi64(-(long long)(((uint64_t)(candidate ^ entry) - 1) >> 63));
    for (size_t at = 0; at < size; at++) {
        lanes limb = _mm512_setzero_si512();
        for (unsigned candidate = 0; candidate < 1U << WINDOW; candidate++)
            limb = _mm512_or_si512(limb, _mm512_and_si512(table[candidate * size + at], chosen[candidate]));
        z[at] = limb;
    }
}

IFMA int batch_raise(const Ring *ring, uint64_t *results, const uint64_t *numbers, const uint8_t *exponent,
                     size_t length, size_t count) {
    const size_t size = 2 * ring->limbs, bytes = (size << WINDOW) * sizeof(lanes);
    const uint64_t *from[LANES];
    Pair factor, x;
    lanes *table = aligned_alloc(sizeof(lanes), bytes);
    if (!table) return 0;
    for (size_t at = 0; at < count; at += LANES) {
        const size_t used = lanes_of(count - at);
        addresses(from, numbers + at * size, 1, used, size);
        lanes_spread(table, ring->one, size);
        lanes_gather(table + size, from, size);
        for (size_t entry = 2; entry < 1U << WINDOW; entry++)
            lanes_multiply(ring, table + entry * size, table + (entry - 1) * size, table + size);
        lanes_spread(x, ring->one, size);
        for (size_t digit = 0; digit < 2 * length; digit++) {
            if (digit)
                for (int square = 0; square < WINDOW; square++) lanes_square(ring, x, x);
            choose(factor, table, exponent[digit / 2] >> (digit % 2 ? 0 : WINDOW) & ((1U << WINDOW) - 1), size);
            lanes_multiply(ring, x, x, factor);
        }
        store(x, results + at * size, 1, used, size);
    }
    /* Powers modulo a secret prime. Through a volatile pointer, or the compiler would leave out the last use. */
    void *(*volatile wipe)(void *, int, size_t) = memset;
    wipe(table, 0, bytes);
    free(table);
    return 1;
}

IFMA void batch_exercise(const Ring *ring, uint64_t *number, size_t count) {
    const size_t size = 2 * ring->limbs;
    Pair x, y;
    lanes_spread(x, number, size);
    memcpy(y, x, size * sizeof(lanes));
    for (size_t step = 0; step < count; step++) lanes_multiply(ring, x, x, y);
    uint64_t *to[LANES] = {number};
    lanes_scatter(x, to, 1, size);
}

#endif
