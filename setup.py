"""The native tier: an extension that the installation does without where it cannot be built."""

from setuptools import Extension, setup

FOLDER = "fedbus/crypto/native"

setup(
    ext_modules=[
        Extension(
            "fedbus.crypto._paillier",
            sources=[f"{FOLDER}/{name}.c" for name in ("module", "batch", "convert", "kernel")],
            depends=[f"{FOLDER}/{name}.h" for name in ("batch", "convert", "kernel", "lanes")],
            extra_compile_args=["-O3", "-std=gnu11"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
