/* The Python module fedbus.crypto._paillier: buffers in, bytes out. Every size is checked before anything is computed,
 * and what is computed runs without the interpreter's lock. There is no state.
 */

#include "arguments.h"
#include "batch.h"

#if FEDBUS_IFMA

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
        if (width <= 0 || width % 2 || (size_t)width * 4 < bit_length(ring.m, ring.limbs) || (size_t)width * 4 > ring.limbs * LIMB_BITS)
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
    Py_ssize_t width;
    Modulus modulus;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*y*n", &given[0], &given[1], &given[2], &width)) return NULL;
    if (read_modulus(&given[0], &modulus)) {
        if (width <= 0 || (size_t)width * 8 > modulus.limbs * LIMB_BITS ||
            (size_t)width * 8 < bit_length(modulus.modulus, modulus.limbs))
            fail("integers of a wrong width");
        else if (given[1].len % width || given[1].len != given[2].len) fail("the two vectors do not fit");
        else if ((result = allocate(given[1].len, 1))) {
            uint8_t *to = contents(result);
            Py_BEGIN_ALLOW_THREADS
            batch_multiply(&modulus, to, given[1].buf, given[2].buf, (size_t)width, (size_t)(given[1].len / width));
            Py_END_ALLOW_THREADS
        }
    }
    release(given, 3);
    return result;
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
            int done;
            Py_BEGIN_ALLOW_THREADS
            done = batch_products(&ring, to, given[1].buf, given[2].buf, given[3].buf, (size_t)count);
            Py_END_ALLOW_THREADS
            if (!done) {
                Py_CLEAR(result);
                PyErr_NoMemory();
            }
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
    {"multiply", multiply, METH_VARARGS, "multiply(modulus, left, right, width): products of big-endian integers."},
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
