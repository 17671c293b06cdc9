"""
Keccak-256, as Ethereum hashes: the original Keccak, whose padding is another one than that of SHA-3.

Each answer that is verified takes three hashes, so it is one direct call of pycryptodome's C where that is possible.
"""

import ctypes
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import find_spec

_OF_NOTHING = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
"""The Keccak-256 of no bytes."""


def _direct_keccak() -> Callable[[bytes], bytes]:
    """Return a function that calls pycryptodome's C directly; its own way to it loads a parser of C first."""
    spec = find_spec("Crypto.Hash")
    folders = spec.submodule_search_locations if spec is not None else None
    # Looked for in the folder, and not as `Crypto.Hash._keccak`, which would import the package.
    found = None if folders is None else PathFinder.find_spec("_keccak", list(folders))
    library = ctypes.CDLL("_keccak" if found is None else found.origin)
    pointer, size, byte = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ubyte
    library.keccak_init.argtypes = ctypes.POINTER(pointer), size, byte
    library.keccak_reset.argtypes = (pointer,)
    library.keccak_absorb.argtypes = pointer, ctypes.c_char_p, size
    library.keccak_digest.argtypes = pointer, ctypes.c_char_p, size, byte
    reset, absorb, squeeze = library.keccak_reset, library.keccak_absorb, library.keccak_digest
    # Whoever hashes takes a state out and puts it back, so that neither another thread nor a finalizer that
    # the garbage collector runs in between can write into it.
    free: list[tuple[ctypes.c_void_p, ctypes.Array[ctypes.c_char]]] = []

    def direct(data: bytes) -> bytes:
        try:
            state, out = taken = free.pop()
        except IndexError:
            state, out = taken = pointer(), ctypes.create_string_buffer(32)
            # 64 bytes of capacity, 24 rounds.
            if library.keccak_init(state, 64, 24):
                raise MemoryError("Keccak's state could not be made.") from None
        # 1 is the padding of Keccak; SHA-3 has another one.
        if reset(state) or absorb(state, data, len(data)) or squeeze(state, out, 32, 1):
            raise MemoryError("Keccak could not be computed.")
        digest = out.raw
        free.append(taken)
        return digest

    return direct


def _hash_object(data: bytes) -> bytes:
    from Crypto.Hash import keccak as library

    digest: bytes = library.new(digest_bits=256, data=data).digest()
    return digest


def _checked_keccak() -> Callable[[bytes], bytes]:
    """Return the direct function, or the plain one where this pycryptodome is built in another way."""
    try:
        direct = _direct_keccak()
        agrees = direct(b"") == bytes.fromhex(_OF_NOTHING)
    except (AttributeError, ImportError, OSError):
        return _hash_object
    return direct if agrees else _hash_object


keccak: Callable[[bytes], bytes] = _checked_keccak()
"""Returns the 32-byte Keccak-256 of its argument (the original Keccak, not SHA-3)."""
