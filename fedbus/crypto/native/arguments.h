/* Checks of what Python hands over. Each sets ValueError and returns 0, or -1 for a count, where something is wrong. */

#ifndef FEDBUS_ARGUMENTS_H
#define FEDBUS_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "kernel.h"
#include "plain.h"

#if FEDBUS_IFMA

#define WORD ((Py_ssize_t)sizeof(uint64_t))

/* Sets ValueError; returns 0. */
int fail(const char *message);

/* Whether this processor has all instructions that are used. */
int supported(void);

/* The length in bits of a number, at least 1. */
size_t bit_length(const uint64_t *limbs, size_t count);

/* A ring is the 64-bit words of: m (limbs), -1/m modulo 2^52 (1), and the pairs of R and of R^3 (2 * limbs each). */
int read_ring(const Py_buffer *buffer, Ring *ring);

/* A modulus is the 64-bit words of: its limbs' number (1), itself and its quotient (`length` each); see plain.h. */
int read_modulus(const Py_buffer *buffer, Modulus *modulus);

/* The number of integers of `width` bytes in a buffer, all of which are so short that `lanes_fold` takes them. */
Py_ssize_t count_integers(const Ring *ring, const Py_buffer *buffer, Py_ssize_t width);

/* The number of the ring's numbers in a buffer. */
Py_ssize_t count_numbers(const Ring *ring, const Py_buffer *buffer);

/* Whether all are indices of a table of so many entries; -1 stands for the number 1. */
int check_indices(const Py_buffer *indices, Py_ssize_t entries);

/* Whether all lie between 0 and the number of indices, and ascend. */
int check_starts(const Py_buffer *starts, Py_ssize_t indices);

#endif
#endif
