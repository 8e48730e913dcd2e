"""The native tier of alignment: an extension that the installation does without where it cannot be built."""

from setuptools import Extension, setup

FOLDER = "fedbus/crypto/x25519"

setup(
    ext_modules=[
        Extension(
            "fedbus.crypto._x25519",
            sources=[f"{FOLDER}/{name}.c" for name in ("module", "field", "ladder", "elligator", "sha512")],
            depends=[f"{FOLDER}/{name}.h" for name in ("field", "lanes")],
            extra_compile_args=["-O3", "-std=gnu11"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
