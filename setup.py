"""The native tier: an extension that the installation does without where it cannot be built."""

from setuptools import Extension, setup

FOLDER = "fedbus/crypto/native"
SOURCES = ["module", "arguments", "batch", "convert", "plain", "kernel"]
HEADERS = ["arguments", "batch", "convert", "plain", "kernel", "columns", "lanes"]

setup(
    ext_modules=[
        Extension(
            "fedbus.crypto._paillier",
            sources=[f"{FOLDER}/{name}.c" for name in ("module", "arguments", "batch", "convert", "plain", "kernel")],
            depends=[
                f"{FOLDER}/{name}.h"
                for name in ("arguments", "batch", "convert", "plain", "kernel", "columns", "lanes")
            ],
            extra_compile_args=["-O3", "-std=gnu11"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
