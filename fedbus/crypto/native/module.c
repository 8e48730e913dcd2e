/* The Python module fedbus.crypto._paillier: buffers in, bytes out. Every size is checked here, before anything is
 * computed, and what is computed runs without the interpreter's lock. There is no state.
 *
 * A ring is the 64-bit words of: m (limbs), -1/m modulo 2^52 (1), and the pairs of R, R^3 and R^4 (2 * limbs each).
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "batch.h"
#include "convert.h"

#if FEDBUS_IFMA

#define WORD ((Py_ssize_t)sizeof(uint64_t))

static int fail(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return 0;
}

static int supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512ifma");
}

static int aligned(const Py_buffer *buffer, size_t size) { return (uintptr_t)buffer->buf % size == 0; }

/* The length of m in bits. */
static size_t bits_of(const Ring *ring) {
    size_t top = ring->limbs - 1;
    while (top && !ring->m[top]) top--;
    return top * LIMB_BITS + 64 - (size_t)__builtin_clzll(ring->m[top] | 1);
}

static int read_ring(const Py_buffer *buffer, Ring *ring) {
    const size_t words = (size_t)(buffer->len / WORD);
    if (!supported()) return fail("the processor lacks AVX-512 IFMA");
    if (buffer->len % WORD || words % 7 != 1 || !aligned(buffer, WORD)) return fail("the bytes are no ring");
    ring->limbs = words / 7;
    if (ring->limbs % 2 || ring->limbs < MIN_LIMBS || ring->limbs > MAX_LIMBS) return fail("a ring of a wrong size");
    ring->m = buffer->buf;
    ring->inverse = ring->m[ring->limbs];
    ring->one = ring->m + ring->limbs + 1;
    ring->cube = ring->one + 2 * ring->limbs;
    ring->fourth = ring->cube + 2 * ring->limbs;
    for (size_t at = 0; at < words; at++)
        if (ring->m[at] > LIMB_MASK) return fail("a limb of the ring is too large");
    if ((ring->m[0] * ring->inverse + 1) & LIMB_MASK) return fail("the ring's inverse is wrong");
    if (bits_of(ring) + SLACK_BITS > ring->limbs * LIMB_BITS) return fail("the ring's modulus is too long");
    return 1;
}

/* The number of integers of `width` bytes in a buffer; -1 where it holds no whole number of them, or too wide ones. */
static Py_ssize_t count_integers(const Ring *ring, const Py_buffer *buffer, Py_ssize_t width) {
    /* Below 2^(bits of m - 1) * R, which is below m * R. */
    if (width <= 0 || width % 2 || (size_t)width * 8 > ring->limbs * LIMB_BITS + bits_of(ring) - 1 || buffer->len % width) {
        fail("integers of a wrong width");
        return -1;
    }
    return buffer->len / width;
}

static Py_ssize_t count_numbers(const Ring *ring, const Py_buffer *buffer) {
    const Py_ssize_t size = 2 * (Py_ssize_t)ring->limbs * WORD;
    if (buffer->len % size || !aligned(buffer, WORD)) {
        fail("the bytes are no numbers of the ring");
        return -1;
    }
    return buffer->len / size;
}

/* -1 stands for the number 1. */
static int check_indices(const Py_buffer *indices, Py_ssize_t entries) {
    const int32_t *index = indices->buf;
    if (indices->len % 4 || !aligned(indices, 4)) return fail("indices are of 32 bits");
    for (Py_ssize_t at = 0; at < indices->len / 4; at++)
        if (index[at] < -1 || index[at] >= entries) return fail("an index is outside the table");
    return 1;
}

/* Bytes for `count` times `size`, or NULL with an error. */
static PyObject *allocate(Py_ssize_t count, Py_ssize_t size) {
    if (size && count > PY_SSIZE_T_MAX / size) return PyErr_NoMemory();
    return PyBytes_FromStringAndSize(NULL, count * size);
}

static PyObject *allocate_numbers(const Ring *ring, Py_ssize_t count) {
    return allocate(count, 2 * (Py_ssize_t)ring->limbs * WORD);
}

static void *contents(PyObject *bytes) { return PyBytes_AsString(bytes); }

static void release(Py_buffer *buffers, int count) {
    for (int at = 0; at < count; at++) PyBuffer_Release(&buffers[at]);
}

static PyObject *load(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[2];
    Py_ssize_t width, count;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*n", &given[0], &given[1], &width)) return NULL;
    if (read_ring(&given[0], &ring) && (count = count_integers(&ring, &given[1], width)) >= 0 &&
        (result = allocate_numbers(&ring, count))) {
        uint64_t *to = contents(result);
        Py_BEGIN_ALLOW_THREADS
        batch_load(&ring, to, given[1].buf, (size_t)width, (size_t)count);
        Py_END_ALLOW_THREADS
    }
    release(given, 2);
    return result;
}

static PyObject *dump(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[3];
    Py_ssize_t width, count;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*ny*", &given[0], &given[1], &width, &given[2])) return NULL;
    const int shifted = given[2].len != 0;
    if (read_ring(&given[0], &ring) && (count = count_numbers(&ring, &given[1])) >= 0) {
        /* A value below m^2 fits when twice the bits of m do, and so does a shift when the bits of m do. */
        if (width <= 0 || width % 2 || (size_t)width * 4 < bits_of(&ring) || (size_t)width * 4 > ring.limbs * LIMB_BITS)
            fail("integers of a wrong width");
        else if (shifted && (given[2].len % (width / 2) || given[2].len / (width / 2) != count))
            fail("there must be one shift for each number");
        else if ((result = allocate(count, width))) {
            uint8_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_dump(&ring, to, (size_t)width, given[1].buf, shifted ? given[2].buf : NULL, (size_t)count);
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 3);
    return result;
}

static PyObject *multiply(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[3];
    Py_ssize_t width, count;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*y*n", &given[0], &given[1], &given[2], &width)) return NULL;
    if (read_ring(&given[0], &ring) && (count = count_integers(&ring, &given[1], width)) >= 0) {
        if ((size_t)width * 4 < bits_of(&ring) || given[1].len != given[2].len) fail("the two vectors do not fit");
        else if ((result = allocate(count, width))) {
            uint8_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_multiply(&ring, to, given[1].buf, given[2].buf, (size_t)width, (size_t)count);
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 3);
    return result;
}

static int check_starts(const Py_buffer *starts, Py_ssize_t indices) {
    const int64_t *start = starts->buf;
    const Py_ssize_t count = starts->len / 8;
    if (starts->len % 8 || !count || !aligned(starts, 8)) return fail("starts are of 64 bits, one more than products");
    for (Py_ssize_t at = 0; at < count; at++)
        if (start[at] < (at ? start[at - 1] : 0) || start[at] > indices) return fail("starts must ascend");
    return 1;
}

static PyObject *products(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[4];
    Py_ssize_t entries;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*", &given[0], &given[1], &given[2], &given[3])) return NULL;
    if (read_ring(&given[0], &ring) && (entries = count_numbers(&ring, &given[1])) >= 0 &&
        check_indices(&given[3], entries) && check_starts(&given[2], given[3].len / 4)) {
        const Py_ssize_t count = given[2].len / 8 - 1;
        if ((result = allocate_numbers(&ring, count))) {
            uint64_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_products(&ring, to, given[1].buf, given[2].buf, given[3].buf, (size_t)count);
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 4);
    return result;
}

static PyObject *powers(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[2];
    Py_ssize_t steps, count;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*n", &given[0], &given[1], &steps)) return NULL;
    if (read_ring(&given[0], &ring) && (count = count_numbers(&ring, &given[1])) >= 0) {
        if (steps < 1 || (count && steps > PY_SSIZE_T_MAX / count)) fail("a wrong number of powers");
        else if ((result = allocate_numbers(&ring, count * steps))) {
            uint64_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_powers(&ring, to, given[1].buf, (size_t)steps, (size_t)count);
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 2);
    return result;
}

static PyObject *weigh(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[3];
    Py_ssize_t steps, entries;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*y*n", &given[0], &given[1], &given[2], &steps)) return NULL;
    if (read_ring(&given[0], &ring) && (entries = count_numbers(&ring, &given[1])) >= 0 &&
        check_indices(&given[2], entries)) {
        if (steps < 1 || given[2].len / 4 % steps) fail("a wrong number of steps");
        else if ((result = allocate_numbers(&ring, given[2].len / 4 / steps))) {
            uint64_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_weigh(&ring, to, given[1].buf, given[2].buf, (size_t)steps, (size_t)(given[2].len / 4 / steps));
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 3);
    return result;
}

static PyObject *raise(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[3];
    Py_ssize_t count;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*y*", &given[0], &given[1], &given[2])) return NULL;
    if (read_ring(&given[0], &ring) && (count = count_numbers(&ring, &given[1])) >= 0 &&
        (result = allocate_numbers(&ring, count))) {
        uint64_t *to = contents(result);
        int done;
        Py_BEGIN_ALLOW_THREADS
        done = batch_raise(&ring, to, given[1].buf, given[2].buf, (size_t)given[2].len, (size_t)count);
        Py_END_ALLOW_THREADS
        if (!done) {
            Py_CLEAR(result);
            PyErr_NoMemory();
        }
    }
    release(given, 3);
    return result;
}

static PyObject *exercise(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer given[2];
    Py_ssize_t count;
    Ring ring;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*n", &given[0], &given[1], &count)) return NULL;
    if (read_ring(&given[0], &ring)) {
        if (count < 0 || count_numbers(&ring, &given[1]) != 1) fail("one number is exercised");
        else if ((result = PyBytes_FromStringAndSize(given[1].buf, given[1].len))) {
            uint64_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_exercise(&ring, to, (size_t)count);
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 2);
    return result;
}

static PyMethodDef operations[] = {
    {"load", load, METH_VARARGS, "load(ring, integers, width): numbers of big-endian integers."},
    {"dump", dump, METH_VARARGS, "dump(ring, numbers, width, shifts): big-endian integers, each times 1 - m * shift."},
    {"multiply", multiply, METH_VARARGS, "multiply(ring, left, right, width): products of big-endian integers."},
    {"products", products, METH_VARARGS, "products(ring, table, starts, indices): products of entries of a table."},
    {"powers", powers, METH_VARARGS, "powers(ring, bases, steps): the powers 0 to steps - 1 of each base."},
    {"weigh", weigh, METH_VARARGS, "weigh(ring, table, indices, steps): products weighted steps, ..., 1."},
    {"raise_", raise, METH_VARARGS, "raise_(ring, numbers, exponent): powers, the exponent big-endian."},
    {"exercise", exercise, METH_VARARGS, "exercise(ring, number, count): eight times `count` multiplications."},
    {NULL, NULL, 0, NULL},
};

#else

static int supported(void) { return 0; }
static PyMethodDef operations[] = {{NULL, NULL, 0, NULL}};

#endif

static int prepare(PyObject *module) {
    return PyModule_AddIntConstant(module, "supported", supported());
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_paillier", "Arithmetic modulo squares with AVX-512 IFMA.", 0, operations, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__paillier(void) { return PyModuleDef_Init(&definition); }
