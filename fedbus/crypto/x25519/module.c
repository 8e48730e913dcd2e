/* The Python module fedbus.crypto._x25519: ids and buffers in, bytes out. Every size is checked here, before anything is
 * computed, and what is computed runs without the interpreter's lock. There is no state.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <string.h>

#include "lanes.h"

#define MAX_TAG_BYTES 255

#if FEDBUS_IFMA
static int supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512ifma");
}
#else
static int supported(void) { return 0; }
#endif

static PyObject *fail(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return NULL;
}

PyDoc_STRVAR(exchange_doc,
             "exchange(scalar, points, /)\n--\n\n"
             "X25519 (RFC 7748, section 5) of every point, 32 bytes each, in order: the scalar is clamped, bit 255 of a\n"
             "point ignored. All zero where a point is of low order.");

static PyObject *exchange(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer scalar, points;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*", &scalar, &points)) return NULL;
    if (!supported())
        fail("the processor lacks AVX-512 IFMA");
    else if (scalar.len != SCALAR_BYTES)
        fail("a scalar has 32 bytes");
    else if (points.len % POINT_BYTES)
        fail("a point has 32 bytes");
    else
        result = PyBytes_FromStringAndSize(NULL, points.len);
#if FEDBUS_IFMA
    if (result) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(result);
        Py_BEGIN_ALLOW_THREADS
        x25519_exchange(to, scalar.buf, points.buf, (size_t)points.len / POINT_BYTES);
        Py_END_ALLOW_THREADS
    }
#endif
    PyBuffer_Release(&scalar);
    PyBuffer_Release(&points);
    return result;
}

/* Pointers to the texts of a tuple, which holds them; 0 with an error where one is no text. */
static int texts_of(PyObject *ids, const uint8_t **texts, size_t *lengths) {
    const Py_ssize_t count = PyTuple_Size(ids);
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_ssize_t length;
        const char *text = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(ids, at), &length);
        if (!text) return 0;
        texts[at] = (const uint8_t *)text;
        lengths[at] = (size_t)length;
    }
    return 1;
}

PyDoc_STRVAR(encode_doc,
             "encode(ids, tag, /)\n--\n\n"
             "The point of the curve for each text in UTF-8, 32 bytes each, in order: the u-coordinate of RFC 9380's\n"
             "curve25519_XMD:SHA-512_ELL2_NU_ with this domain separation tag, of 1 to 255 bytes, before clear_cofactor.");

static PyObject *encode(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer tag;
    PyObject *given, *ids = NULL, *result = NULL;
    const uint8_t **texts = NULL;
    size_t *lengths = NULL;
    if (!PyArg_ParseTuple(arguments, "Oy*", &given, &tag)) return NULL;
    if (!supported()) {
        fail("the processor lacks AVX-512 IFMA");
        goto done;
    }
    if (tag.len < 1 || tag.len > MAX_TAG_BYTES) {
        fail("a domain separation tag has 1 to 255 bytes");
        goto done;
    }
    /* A tuple of its own, for a list could be changed by another thread while the lock is not held. */
    if (!(ids = PySequence_Tuple(given))) goto done;
    const Py_ssize_t count = PyTuple_Size(ids);
    texts = PyMem_Malloc((size_t)(count + 1) * sizeof *texts);
    lengths = PyMem_Malloc((size_t)(count + 1) * sizeof *lengths);
    if (!texts || !lengths) {
        PyErr_NoMemory();
        goto done;
    }
    if (!texts_of(ids, texts, lengths)) goto done;
    result = PyBytes_FromStringAndSize(NULL, count * POINT_BYTES);
#if FEDBUS_IFMA
    if (result) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(result);
        Py_BEGIN_ALLOW_THREADS
        x25519_encode(to, texts, lengths, (size_t)count, tag.buf, (size_t)tag.len);
        Py_END_ALLOW_THREADS
    }
#endif
done:
    PyMem_Free(texts);
    PyMem_Free(lengths);
    Py_XDECREF(ids);
    PyBuffer_Release(&tag);
    return result;
}

PyDoc_STRVAR(first_invalid_doc,
             "first_invalid(points, /)\n--\n\n"
             "The index of the first point that is zero or not below the prime, -1 where none is.");

static PyObject *first_invalid(PyObject *self, PyObject *arguments) {
    (void)self;
    Py_buffer points;
    if (!PyArg_ParseTuple(arguments, "y*", &points)) return NULL;
    const Py_ssize_t count = points.len / POINT_BYTES;
    Py_ssize_t at = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; at < count; at++) {
        uint64_t word[4];
        memcpy(word, (const uint8_t *)points.buf + at * POINT_BYTES, sizeof word);
        const int large = word[3] > UINT64_MAX >> 1 || (word[3] == UINT64_MAX >> 1 && word[2] == UINT64_MAX &&
                                                        word[1] == UINT64_MAX && word[0] >= UINT64_MAX - 18);
        if (large || !(word[0] | word[1] | word[2] | word[3])) break;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&points);
    return PyLong_FromSsize_t(at < count ? at : -1);
}

static PyMethodDef methods[] = {
    {"exchange", exchange, METH_VARARGS, exchange_doc},
    {"encode", encode, METH_VARARGS, encode_doc},
    {"first_invalid", first_invalid, METH_VARARGS, first_invalid_doc},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) { return PyModule_AddObjectRef(module, "supported", supported() ? Py_True : Py_False); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_x25519",
    "X25519 and Elligator 2, eight points at a time (AVX-512 IFMA); `supported` says whether this processor can.",
    0,
    methods,
    slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__x25519(void) { return PyModuleDef_Init(&definition); }
