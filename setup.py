"""The native tier: extensions that the installation does without where they cannot be built."""

from setuptools import Extension, setup


def extension(name: str, folder: str, sources: list[str], headers: list[str]) -> Extension:
    """An optional extension of the files in a folder."""
    return Extension(
        name,
        sources=[f"{folder}/{source}.c" for source in sources],
        depends=[f"{folder}/{header}.h" for header in headers],
        extra_compile_args=["-O3", "-std=gnu11"],
        py_limited_api=True,
        optional=True,
    )


setup(
    ext_modules=[
        extension(
            "fedbus.crypto._paillier",
            "fedbus/crypto/native",
            ["module", "arguments", "batch", "convert", "plain", "kernel"],
            ["arguments", "batch", "convert", "plain", "kernel", "columns", "lanes"],
        ),
        extension(
            "fedbus.crypto._x25519",
            "fedbus/crypto/x25519",
            ["module", "field", "ladder", "elligator", "sha512"],
            ["field", "lanes"],
        ),
    ]
)
